// pill.js - a device's state as a shape, a colour and a word: no one of them alone.

import { h, setText, svg } from '/assets/dom.js';

const SHAPES = {
    online: 'M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z',
    stale: 'M6 .8 11.5 10.8H.5z',
    offline: 'M1.5 1.5h9v9h-9z',
    unknown: 'M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10zm0 2.5a2.5 2.5 0 1 1 0 5a2.5 2.5 0 1 1 0-5z',
};

export const stateShape = (state) => svg('svg', { class: 'shape', viewBox: '0 0 12 12', width: 10, height: 10, 'aria-hidden': 'true' },
    svg('path', { d: SHAPES[state] }));

export const makePill = () => h('span', { class: 'pill' });

export function drawPill(pill, state, remark) {
    if (pill.dataset.state !== state) {
        pill.dataset.state = state;
        pill.replaceChildren(stateShape(state), h('span', {}, state), h('span', { class: 'remark' }));
    }
    setText(pill.lastChild, remark === '' ? '' : ` · ${remark}`);
}
