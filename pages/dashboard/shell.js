// shell.js - what is around every view: how live it is, what is wrong with the server, and the question for a token.

import { now } from '/assets/clock.js';
import { announce, h, setText } from '/assets/dom.js';
import { span } from '/assets/format.js';
import { gate } from '/assets/gate.js';
import { session } from '/assets/session.js';

// --- how live

let live = { state: 'off', at: 0 };

/** state: 'off', 'connecting', 'live', 'reconnecting', 'fixed'. */
export function setLive(state) {
    if (live.state === 'live' && state === 'reconnecting')
        announce('Live updates are interrupted.');
    if (live.state === 'reconnecting' && state === 'live')
        announce('Live updates are back.');
    live = { state, at: state === 'live' ? now() : live.at };
    drawLive();
}

/** Something new was shown. */
export function noteUpdate() {
    live.at = now();
}

function liveText() {
    const since = live.at > 0 ? ` · last update ${span(now() - live.at)} ago` : '';
    switch (live.state) {
    case 'live':
        return now() - live.at > 30 ? `Live${since}` : 'Live';
    case 'connecting':
        return 'Connecting …';
    case 'reconnecting':
        return `Reconnecting …${since}`;
    case 'fixed':
        return 'Fixed range';
    default:
        return '';
    }
}

function drawLive() {
    const element = document.getElementById('live');
    element.dataset.state = live.state;
    setText(element, liveText());
}

// --- the server's trouble

const TROUBLE = {
    gone: ['The server does not answer.', 'What you see is the last that came from it.'],
    busy: ['Too many requests.', ''],
    upstream: ['The server cannot get at its data.', ''],
};

const countdown = h('span', { 'aria-hidden': 'true' });
const message = h('span', {});
const retry = h('button', { type: 'button', onclick: () => gate.retryNow() }, 'Try now');
let said = '';

function drawBanner() {
    const banner = document.getElementById('banner');
    const { trouble } = gate;
    if (trouble === null) {
        banner.hidden = true;
        if (said !== '')
            announce('The server answers again.');
        said = '';
        return;
    }
    const [title, more] = TROUBLE[trouble.kind];
    const text = [title, trouble.detail || more].filter(Boolean).join(' ');
    banner.hidden = false;
    banner.dataset.kind = trouble.kind;
    setText(message, text);
    const left = Math.ceil((trouble.until - Date.now()) / 1000);
    setText(countdown, trouble.waiting && left > 0 ? `Next try in ${left} s` : 'Trying …');
    retry.disabled = !trouble.waiting;
    if (said !== text)
        announce(`${text} Trying again by itself.`); // once: the countdown is for eyes
    said = text;
}

// --- the question for a token

export function signInView(main) {
    const input = h('input', { id: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, 'aria-describedby': 'token-why token-how' });
    const submit = (event) => {
        event.preventDefault();
        // A pasted token may bring its scheme and line breaks along.
        const token = input.value.replace(/^\s*bearer\s+/i, '').replace(/\s+/g, '');
        if (/^[\x21-\x7e]+$/.test(token))
            session.set(token);
        else
            announce('That is not a token.');
    };
    main.replaceChildren(h('form', { class: 'sign-in', onsubmit: submit },
        h('h1', { tabindex: '-1' }, 'Sign in'),
        h('p', { id: 'token-why' }, session.asking),
        h('label', { for: 'token' }, 'Access token'),
        input,
        h('button', { type: 'submit', class: 'primary' }, 'Sign in'),
        h('p', { id: 'token-how', class: 'hint' },
            'It stays in this browser tab and is sent to this server alone. Seeing everything takes the permissions Telemetry.Read and Device.Read.')));
    input.focus();
}

/** Starts what this module shows. */
export function startShell() {
    const banner = document.getElementById('banner');
    banner.append(h('span', { class: 'sign', 'aria-hidden': 'true' }, '!'), message, countdown, retry);
    gate.addEventListener('change', drawBanner);
    const signOut = document.getElementById('sign-out');
    signOut.addEventListener('click', session.signOut);
    const showSignOut = () => (signOut.hidden = session.token() === null);
    session.addEventListener('change', showSignOut);
    showSignOut();
    setInterval(() => {
        drawLive();
        if (gate.trouble)
            drawBanner();
    }, 1000);
}
