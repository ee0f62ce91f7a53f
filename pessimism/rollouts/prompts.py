"""What a prompt asks: of a conversation, the last turn of the user."""

from __future__ import annotations

from pessimism.rollouts.lines import read_json


def last_user_turn(prompt: str) -> str:
    """Return what the user says last in a conversation, and any other prompt as it is.

    Parameters
    ----------
    prompt : str
        A prompt as :func:`~pessimism.read_rollouts` returns it; conversations are JSON, a list of messages.

    Returns
    -------
    str
        Its end that tells it from others with the same beginning; the texts of a content in parts are joined.

    Examples
    --------
    >>> last_user_turn('[{"content":"Be short.","role":"system"},{"content":"1+1=","role":"user"}]')
    '1+1='
    >>> last_user_turn("1+1=")
    '1+1='
    """
    try:
        messages = read_json(prompt) if prompt.startswith("[") else None
    except (ValueError, RecursionError):  # a text that only looks like it
        return prompt
    for message in reversed(messages) if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            return _text(message.get("content")) or prompt
    return prompt


def _text(content: object) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return " ".join(text for text in texts if isinstance(text, str))
