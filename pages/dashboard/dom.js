// dom.js - building elements. What comes from the server is text and nothing else: there is no way in here to hand over markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, props, children) {
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === undefined || value === null || value === false)
            continue;
        if (name.startsWith('on'))
            element.addEventListener(name.slice(2), value);
        else
            element.setAttribute(name, value === true ? '' : String(value));
    }
    element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
    return element;
}

/** h('button', {type: 'button', onclick: f}, 'text', element, ..): null and false are left out. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Changes the text only where it differs, so that nothing is laid out or read out for nothing. */
export function setText(element, text) {
    if (element.textContent !== text)
        element.textContent = text;
}

let announcer;

/** Says something to a screen reader, politely. */
export function announce(text) {
    announcer ??= document.getElementById('announce');
    setText(announcer, text);
}

/** Runs a function now and then every ms milliseconds until the signal aborts. */
export function every(ms, signal, run) {
    run();
    const timer = setInterval(run, ms);
    signal.addEventListener('abort', () => clearInterval(timer));
}

/** A message that takes the place of what cannot be shown: a title, an explanation, perhaps something to press. */
export function stateMessage(title, text, ...more) {
    return h('div', { class: 'state' }, h('h2', {}, title), text && h('p', {}, text), ...more);
}
