// Swagger UI and ReDoc write their own words in English only. This puts those of the
// page's dictionary in their place, as they appear. What comes from the document, or
// was typed, is never one of them: code, fields and values are left alone.
"use strict";

(() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const untouched = "pre, code, textarea, script, style";

  const translate = (text) => {
    const whole = text.nodeValue.trim();
    // "<= 200 characters" is looked up as "# characters".
    const counted = /^(.*\d\S*(?: \])?) (\w+)$/.exec(whole);
    const word = counted ? `# ${counted[2]}` : whole;
    if (!Object.hasOwn(words, word) || text.parentElement?.closest(untouched)) {
      return;
    }
    const said = counted ? words[word].replace("#", counted[1]) : words[word];
    text.nodeValue = text.nodeValue.replace(whole, said);
  };

  const translateWithin = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      translate(node);
      return;
    }
    const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      translate(texts.currentNode);
    }
    for (const field of node.querySelectorAll?.("[placeholder]") ?? []) {
      field.placeholder = words[field.placeholder] ?? field.placeholder;
    }
  };

  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "characterData") {
        translate(change.target);
      }
      change.addedNodes.forEach(translateWithin);
    }
  }).observe(document, { childList: true, characterData: true, subtree: true });
})();
