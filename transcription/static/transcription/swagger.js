"use strict";

// Starts Swagger UI with what its page says in attributes: the page's policy allows no
// scripts in the page itself.
(() => {
  const page = document.getElementById("swagger-ui").dataset;

  // Who is signed in acts with the cookie of the session, which needs the token.
  const requestInterceptor = (request) => {
    const changes = !["GET", undefined].includes(request.method);
    if (changes && request.credentials === "same-origin") {
      request.headers[page.csrfHeader] = page.csrfToken;
    }
    return request;
  };

  window.ui = SwaggerUIBundle({
    url: page.schemaUrl,
    dom_id: "#swagger-ui",
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    requestInterceptor,
    ...JSON.parse(page.settings),
  });
})();
