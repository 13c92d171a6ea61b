// app.js - the entry: which view the address asks for (#/ or #/devices/<id>?range=..), and the sign-in in its place while one is needed.

import { h } from '/assets/dom.js';
import { deviceView } from '/assets/device.js';
import { fleetView } from '/assets/fleet.js';
import { session } from '/assets/session.js';
import { setLive, signInView, startShell } from '/assets/shell.js';

const main = document.getElementById('main');
let leave = new AbortController();
let shownPath;
let signingIn = false;

/** {path, id, parameters}; id: undefined for the fleet. */
function route() {
    const [path, query = ''] = location.hash.replace(/^#/, '').split('?', 2);
    const match = /^\/devices\/([^/]+)$/.exec(path);
    try {
        return { path, id: match ? decodeURIComponent(match[1]) : undefined, parameters: new URLSearchParams(query) };
    } catch {
        return { path: '/', id: undefined, parameters: new URLSearchParams() };
    }
}

function show() {
    leave.abort(new DOMException('left', 'AbortError'));
    leave = new AbortController();
    setLive('off');
    const { path, id, parameters } = route();
    document.title = `${id ?? 'Fleet'} · telemetryd`;
    const fleet = document.getElementById('nav-fleet');
    if (id === undefined)
        fleet.setAttribute('aria-current', 'page');
    else
        fleet.removeAttribute('aria-current');

    main.replaceChildren();
    if (id === undefined)
        fleetView(main, { signal: leave.signal });
    else
        deviceView(main, { signal: leave.signal, id, parameters });

    // Another page begins at its heading; the first one, and another range of the same device, leave the focus where it is.
    if (shownPath !== undefined && shownPath !== path) {
        scrollTo(0, 0);
        main.querySelector('h1')?.focus({ preventScroll: true });
    }
    shownPath = path;
}

function onSession() {
    if (session.asking !== '') {
        if (signingIn)
            return;
        signingIn = true;
        leave.abort(new DOMException('signed out', 'AbortError'));
        setLive('off');
        document.title = 'Sign in · telemetryd';
        signInView(main);
    } else if (signingIn) {
        signingIn = false;
        show();
    }
}

addEventListener('hashchange', () => {
    if (!signingIn && (location.hash === '' || location.hash.startsWith('#/')))
        show();
});
document.getElementById('skip').addEventListener('click', (event) => {
    event.preventDefault(); // the hash is the router's
    main.focus();
});
session.addEventListener('change', onSession);
addEventListener('unhandledrejection', (event) => {
    if (event.reason?.name === 'AbortError') {
        event.preventDefault(); // a view that was left
        return;
    }
    main.prepend(h('p', { class: 'notice', role: 'alert' }, 'Something went wrong in this page. Reload it to go on.'));
});

startShell();
show();
