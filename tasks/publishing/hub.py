"""Speaks with a hub: the one door to ``huggingface_hub``.

Large files go up one by one before the commit that names them, so a push needs local room for the
largest only, and a push that broke goes on where it stopped: the hub says which contents it has.
The commit itself is all or nothing. To the public hub the library sends by its own protocol (Xet);
any other gets plain Git LFS uploads, which every hub speaks.

What may pass (no answer, 408, 409, 412, 429, 5xx) is a :class:`TransientError`, which Prefect
retries; a refusal (token, rights, names, card) is a :class:`ConfigError`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.errors import ConfigError, OpenCharacterError, Problem, TransientError
from infra.secrets.secrets import Secret
from tasks.publishing.parcels import Kind, Parcel, ParcelFile, find_stale

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

_MAY_PASS = frozenset({408, 409, 412, 429, 500, 502, 503, 504})
_REFUSED = frozenset({401, 403})

Fetch = Callable[[ParcelFile], AbstractContextManager[Path]]
"""Gives a file of a parcel as a local one for as long as the context is open."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """Finished push: the commit that holds exactly what was sent."""

    repository: str
    commit: str
    url: str


@dataclass(frozen=True, slots=True)
class _Repository:
    private: bool
    head: str | None
    files: tuple[str, ...]


class Hub:
    """A hub and the token to push with; nothing is asked before a method is called."""

    def __init__(self, endpoint: str | None, token: Secret, timeout_s: float) -> None:
        self._endpoint, self._token, self._timeout_s = endpoint, token, timeout_s

    def check_access(self, targets: Sequence[tuple[Kind, str]], *, private: bool) -> str:
        """Return whose the token is; :class:`ConfigError` if a push could only fail, or leak."""
        with self._explaining("the token") as api:
            user = str(api.whoami()["name"])
        for kind, name in targets:
            with self._explaining(f"{kind} {name}") as api:
                found = self._find(api, kind, name)
            _check_visibility(name, found, private=private)
        return user

    def push(self, parcel: Parcel, fetch: Fetch, *, message: str, private: bool) -> Pushed:
        """Make the repository if it is missing and commit the parcel to it.

        A parcel that is there already makes no new commit; the one that holds it is returned.
        """
        kind, name = parcel.kind, parcel.repository
        with self._explaining(f"{kind} {name}") as api:
            found = self._find(api, kind, name)
            if found is None:
                api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
                found = self._find(api, kind, name)
            _check_visibility(name, found, private=private)
            return self._commit(api, parcel, fetch, found, message)

    def _commit(
        self, api: HfApi, parcel: Parcel, fetch: Fetch, found: _Repository | None, message: str
    ) -> Pushed:
        from huggingface_hub import CommitOperationDelete

        sent = [self._send(api, parcel, file, fetch) for file in parcel.files]
        stale = find_stale(parcel, found.files if found else ())
        done = api.create_commit(
            parcel.repository,
            [*sent, *(CommitOperationDelete(name, is_folder=False) for name in stale)],
            commit_message=message,
            repo_type=parcel.kind,
            # Whoever commits in between makes this one fail, and the retry look again.
            parent_commit=found.head if found else None,
        )
        return Pushed(parcel.repository, str(done.oid), str(done.commit_url))

    def _send(
        self, api: HfApi, parcel: Parcel, file: ParcelFile, fetch: Fetch
    ) -> CommitOperationAdd:
        """Upload a large file; a small one, as the hub judges it, travels inside the commit."""
        from huggingface_hub import CommitOperationAdd

        self._limit_silence()
        with fetch(file) as local, local.open("rb") as content:
            # Given open files, the library uploads by Git LFS; given paths, by Xet.
            source: Any = str(local) if self._is_public(api) else content
            addition = CommitOperationAdd(file.name, source)
            api.preupload_lfs_files(parcel.repository, [addition], repo_type=parcel.kind)
            if addition.path_or_fileobj != b"":  # not uploaded, so not let go of
                addition.path_or_fileobj = local.read_bytes()
        return addition

    def _find(self, api: HfApi, kind: Kind, name: str) -> _Repository | None:
        from huggingface_hub.errors import HfHubHTTPError

        self._limit_silence()
        try:
            info = api.repo_info(name, repo_type=kind, timeout=self._timeout_s)
        except HfHubHTTPError as error:
            # A hub answers 401 for a repository that the token may not see, as if it were none.
            if error.response.status_code in (401, 404):
                return None
            raise
        files = tuple(item.rfilename for item in getattr(info, "siblings", None) or ())
        return _Repository(bool(getattr(info, "private", False)), info.sha, files)

    def _limit_silence(self) -> None:
        """Have requests give up on a silent hub: the library's own would wait for ever."""
        from huggingface_hub import get_session

        get_session().timeout = self._timeout_s

    @staticmethod
    def _is_public(api: HfApi) -> bool:
        host = urlsplit(api.endpoint).hostname or ""
        return host == "huggingface.co" or host.endswith(".huggingface.co")

    @contextmanager
    def _explaining(self, what: str) -> Iterator[HfApi]:
        """Lend the client, and turn what it raises into errors of this project."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token.reveal())
        try:
            with warnings.catch_warnings():
                # The library hands open files to its HTTP client in a way that is deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._limit_silence()
                yield api
        except OpenCharacterError:
            raise
        except Exception as error:
            known = self._explain(api.endpoint, what, error)
            if known is None:
                raise
            raise known from error

    def _explain(self, address: str, what: str, error: BaseException) -> OpenCharacterError | None:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        where = f"{address}: {what}"
        text = self._token.hide_in(" ".join(str(error).split()))
        if isinstance(error, RuntimeError) and error.__cause__ is not None:
            return self._explain(address, what, error.__cause__)  # an upload's thread wraps it
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            if status in _MAY_PASS:
                return TransientError(f"{where}: the hub answered {status}: {text}")
            todo = "fix the name or the card, or see what the hub says"
            if status in _REFUSED:
                todo = "give publish.token a token that may write there"
            return ConfigError(Problem(where, f"the hub refuses ({status}): {text}", todo))
        if isinstance(error, OfflineModeIsEnabled):
            return ConfigError(Problem(where, "the hub may not be asked", "unset HF_HUB_OFFLINE"))
        if isinstance(error, httpx2.HTTPError):
            return TransientError(f"{where}: the hub does not answer: {text}")
        if isinstance(error, ValueError):
            return ConfigError(
                Problem(where, text, "fix the repository's name or the card's template")
            )
        return None


def _check_visibility(name: str, found: _Repository | None, *, private: bool) -> None:
    if private and found is not None and not found.private:
        raise ConfigError(
            Problem(
                f"publish: {name}",
                "the repository is public, but publish.private is true",
                "make it private on the hub, choose another, or set publish.private=false",
            )
        )
