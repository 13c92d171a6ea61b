// sparkline.js - an hour as a line of a few pixels. Decoration beside a number: screen readers are told the number, not the line.

import { svg } from '/assets/dom.js';
import { withGaps } from '/assets/series.js';

const WIDTH = 96;
const HEIGHT = 24;
const EDGE = 2;

/** The d of a path through a line with nulls; x and y map to pixels. A point that stands alone is drawn as a dot (round caps). */
function pathThrough({ times, values }, x, y) {
    let d = '';
    let pen = false;
    times.forEach((time, i) => {
        if (values[i] === null) {
            pen = false;
            return;
        }
        const alone = !pen && (i + 1 === times.length || values[i + 1] === null);
        d += `${pen ? 'L' : 'M'}${x(time).toFixed(1)} ${y(values[i]).toFixed(1)}${alone ? 'h.01' : ''}`;
        pen = true;
    });
    return d;
}

export const makeSparkline = () => svg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, 'aria-hidden': 'true' },
    svg('path', { class: 'spark-line' }), svg('circle', { class: 'spark-end', r: 2 }));

/** Draws a line (recent.js) of the hour that ends now. */
export function drawSparkline(element, line, now) {
    const [path, end] = element.children;
    if (line.times.length === 0) {
        path.removeAttribute('d');
        end.setAttribute('visibility', 'hidden');
        return;
    }
    const low = Math.min(...line.values);
    const high = Math.max(...line.values);
    const x = (time) => EDGE + (WIDTH - 2 * EDGE) * Math.min(1, Math.max(0, (time - now + 3600) / 3600));
    // A constant is a line in the middle, not at the bottom.
    const y = (value) => (high === low ? HEIGHT / 2 : EDGE + (HEIGHT - 2 * EDGE) * (1 - (value - low) / (high - low)));
    path.setAttribute('d', pathThrough(withGaps(line), x, y));
    end.setAttribute('cx', x(line.times.at(-1)).toFixed(1));
    end.setAttribute('cy', y(line.values.at(-1)).toFixed(1));
    end.removeAttribute('visibility');
}
