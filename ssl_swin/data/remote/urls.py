"""What stands in a URL: a file's name, its folder, its neighbours. Nothing is looked up."""

from urllib.parse import unquote, urlsplit

from ssl_swin.errors import ShardError


def shown(url: str) -> str:
    """Return a URL as it may be printed: without a user's name, a password or a signature."""
    if not is_http(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def name_of(url: str) -> str:
    """Return the name of the tar that a URL ends in; ShardError if no file here can have it."""
    name = path_of(url).rpartition("/")[2]
    name = unquote(name) if is_http(url) else name
    if not name.endswith(".tar") or name.startswith(".") or "/" in name or "\0" in name:
        raise ShardError(f"{shown(url)} must end in the plain name of a tar, like x.tar")
    return name


def beside(url: str, name: str) -> str:
    """Return the URL of another file in the folder of a file."""
    path = path_of(url)
    return f"{path.rpartition('/')[0]}/{name}{url[len(path) :]}"


def is_http(url: str) -> bool:
    """Whether a URL is a web address."""
    return url.startswith(("http://", "https://"))


def path_of(url: str) -> str:
    """Return a URL without the query that a web address may have."""
    return url.partition("?")[0] if is_http(url) else url
