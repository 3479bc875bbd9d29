"""What readers of a transcript must know about its media."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transcription.media.clock import Hole
from transcription.media.facts import AudioTrack
from transcription.media.mixing import ChannelWatch
from transcription.notices import Notice, NoticeCode
from whisperhub.sentences import Sentence

# Holes and jumps that a notice names one by one; the rest are only counted.
MOST_PLACES = 20


def chosen_track(track: AudioTrack, *, instead_of: AudioTrack) -> Iterator[Notice]:
    """Say that another track was taken than a player would take."""
    if track != instead_of:
        yield Notice(
            NoticeCode.AUDIO_TRACK_CHOSEN,
            Sentence(
                "Audio track {silent} is silent, so track {track} was taken. Give "
                "audio_track to choose another one.",
                silent=instead_of.index,
                track=track.index,
            ),
            {"track": track.index, "silent": instead_of.index},
        )


def cut_short(is_cut_short: bool, *, seconds: float) -> Iterator[Notice]:
    """Say that the end of the file is missing."""
    if is_cut_short:
        yield Notice(
            NoticeCode.MEDIA_TRUNCATED,
            Sentence(
                "The file is cut short: its sound ends at {end} s, and the rest is "
                "missing. Submit the whole file to get it.",
                end=_rounded(seconds),
            ),
            {"end": _rounded(seconds)},
        )


def cancelled_channels(watch: ChannelWatch) -> Iterator[Notice]:
    """Say that one channel stands for all, and for how long."""
    if watch.seconds:
        yield Notice(
            NoticeCode.CHANNELS_CANCEL,
            Sentence(
                "The channels of the recording cancel each other out when they are "
                "mixed. For {seconds} s channel {channel} was taken alone.",
                seconds=_rounded(watch.seconds),
                channel=watch.channel,
            ),
            {"seconds": _rounded(watch.seconds), "channel": watch.channel},
        )


def missing_audio(holes: Sequence[Hole], undecodable_packets: int) -> Iterator[Notice]:
    """Say where sound is missing, and how much."""
    seconds = _rounded(sum(hole.seconds for hole in holes))
    details = {
        "seconds": seconds,
        "count": len(holes),
        "places": [
            {
                "start": _rounded(hole.start),
                "end": _rounded(hole.end),
                "seconds": _rounded(hole.seconds),
            }
            for hole in holes[:MOST_PLACES]
        ],
        "undecodable_packets": undecodable_packets,
    }
    if len(holes) == 1:
        sentence = Sentence(
            "{seconds} s of sound are missing in the file, from {start} s to {end} s. "
            "Silence stands in their place.",
            seconds=seconds,
            start=_rounded(holes[0].start),
            end=_rounded(holes[0].end),
        )
        yield Notice(NoticeCode.AUDIO_MISSING, sentence, details)
    elif holes:
        sentence = Sentence(
            "{seconds} s of sound are missing in {count} places of the file, the first "
            "at {start} s. Silence stands in their place.",
            seconds=seconds,
            count=len(holes),
            start=_rounded(holes[0].start),
        )
        yield Notice(NoticeCode.AUDIO_MISSING, sentence, details)
    elif undecodable_packets:
        yield Notice(
            NoticeCode.AUDIO_DAMAGED,
            Sentence(
                "Parts of the sound are damaged and were left out, and the file does "
                "not tell where. Times after them may be too early."
            ),
            {"undecodable_packets": undecodable_packets},
        )


def clock_jumps(jumps: Sequence[float]) -> Iterator[Notice]:
    """Say where the time stamps of the file were not believed."""
    if jumps:
        yield Notice(
            NoticeCode.CLOCK_JUMPS,
            Sentence(
                "The time stamps of the file jump at {start} s. From there on times "
                "are counted in sound, and other players may show other times.",
                start=_rounded(jumps[0]),
            ),
            {
                "count": len(jumps),
                "places": [{"start": _rounded(at)} for at in jumps[:MOST_PLACES]],
            },
        )


def _rounded(seconds: float) -> float:
    return round(seconds, 2)
