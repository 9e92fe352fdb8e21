"""The care of stored states, put together: for a running node, and for its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from qflow import _core
from qflow.audit import History, Index
from qflow.audit._erasures import Erased, apply_erasures
from qflow.audit._own import own_chain
from qflow.node._adoption import Adoption
from qflow.node._files import open_files
from qflow.node._state_carriers import Carriers
from qflow.node._state_home import Home, checkpoint_files
from qflow.node._state_views import Views
from qflow.node._states import StateCare
from qflow.node._stored import open_stored, stored_beside
from qflow.trust import Keyring, load_or_create_key

if TYPE_CHECKING:
    from qflow.audit import Log
    from qflow.audit._own import OwnChain
    from qflow.config import Config
    from qflow.node._state_home import Checkpointing, SetAside
    from qflow.node._stored import Stored


def node_states(
    stored: Stored,
    config: Config,
    *,
    history: History,
    index: Index,
    log: Log,
    own: OwnChain,
    keys: Keyring,
    checkpoint: Checkpointing,
    set_aside: SetAside,
) -> StateCare:
    """The care of the stored states of a running node."""
    adoption = Adoption(
        states=stored.states,
        log=log,
        index=index,
        history=history,
        own=own,
        subnet=config.subnet,
    )
    home = Home(
        adoption=adoption,
        index=index,
        keys=keys,
        signers=stored.signers,
        subnet=config.subnet,
        checkpoint=checkpoint,
        set_aside=set_aside,
    )
    return state_care(stored, config, history, home)


def state_care(
    stored: Stored, config: Config, history: History | None, home: Home | None
) -> StateCare:
    """The care of one store; without a `home` for reading only."""
    carriers = Carriers(stored, config)
    views = Views(
        stored.states,
        stored.blocks,
        history=history,
        pinned=carriers,
        is_trusted=stored.signers.is_trusted,
        is_erased=stored.is_erased,
    )
    return StateCare(
        states=stored.states,
        blocks=stored.blocks,
        views=views,
        carriers=carriers,
        home=home,
        keep=config.checkpoint.keep,
    )


@asynccontextmanager
async def open_state_care(config: Config) -> AsyncIterator[StateCare]:
    """Care of the stored states of a home in which no node runs. Takes the lock of the log.

    Raises LockedError, CorruptError, SigningKeyError.
    """
    async with open_files(config) as files, stored_beside(config, files) as stored:
        apply_erasures(
            files.history, files.chain, files.keys, mark=True, also=stored.elsewhere.erase
        )
        yield node_states(
            stored,
            config,
            history=files.history,
            index=files.index,
            log=files.log,
            own=files.own,
            keys=files.keys,
            checkpoint=partial(checkpoint_files, files, stored, config),
            set_aside=lambda plans: nullcontext(set(plans)),
        )


@contextmanager
def open_state_view(config: Config) -> Iterator[StateCare]:
    """The same for reading only, beside whoever else reads. Blocks while it opens.

    Raises CorruptError, SigningKeyError.
    """
    home = config.home
    with ExitStack() as stack:
        key = load_or_create_key(home, passphrase=config.keys.passphrase_file)
        keys = Keyring(home, lambda: key.seed)
        stack.callback(keys.close)
        history = None
        if (home / "log").is_dir():
            source = _core.LogReader(str(home / "log"))
            index = stack.enter_context(closing(Index(home / "index.db")))
            index.catch_up(source)
            history = History(index, source, keys)
        is_erased = (
            _nothing if history is None else Erased(history, own_chain(key.public)).__contains__
        )
        stored = stack.enter_context(closing(open_stored(config, key, keys, is_erased=is_erased)))
        yield state_care(stored, config, history, None)


def _nothing(_chain: bytes) -> bool:
    return False
