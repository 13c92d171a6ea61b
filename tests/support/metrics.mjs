// Reads Prometheus text format 0.0.4, and refuses what a scraper would refuse or misread.

import assert from 'node:assert/strict';

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([0-9.eE+-]+|\+Inf|NaN)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

function parseLabels(text) {
    const labels = {};
    LABEL.lastIndex = 0;
    while (LABEL.lastIndex < text.length) {
        const at = LABEL.lastIndex;
        const match = LABEL.exec(text);
        assert.ok(match, `labels: ${text.slice(at)}`);
        assert.ok(!(match[1] in labels), `label ${match[1]} twice`);
        labels[match[1]] = match[2];
    }
    return labels;
}

const fits = (labels, wanted) => Object.entries(wanted).every(([name, value]) => labels[name] === value);

/** {text, families: {name: {type, samples}}, value(name, labels): the sum over samples that fit}. */
export function parseMetrics(text) {
    assert.ok(text.endsWith('\n'), 'metrics end with a line feed');
    const families = {};
    const samples = [];
    const seen = new Set();
    for (const line of text.split('\n').filter(Boolean)) {
        const type = /^# TYPE (\S+) (counter|gauge|histogram|summary|untyped)$/.exec(line);
        if (type) {
            assert.ok(!families[type[1]], `${type[1]} has one TYPE line`);
            families[type[1]] = { type: type[2], samples: [] };
            continue;
        }
        if (line.startsWith('#'))
            continue;
        const match = SAMPLE.exec(line);
        assert.ok(match, `not a sample: ${line}`);
        const [, name, labelText = '', number] = match;
        const labels = parseLabels(labelText);
        const key = `${name}${JSON.stringify(Object.entries(labels).sort())}`;
        assert.ok(!seen.has(key), `sample twice: ${line}`);
        seen.add(key);
        const family = families[name] ? name : name.replace(/_(bucket|sum|count)$/, '');
        assert.ok(families[family], `no TYPE before ${line}`);
        const sample = { name, labels, value: number === '+Inf' ? Infinity : Number(number) };
        families[family].samples.push(sample);
        samples.push(sample);
    }
    for (const [name, family] of Object.entries(families)) {
        if (family.type === 'histogram')
            checkHistogram(name, family);
    }
    return {
        text, families,
        value: (name, wanted = {}) => samples.filter((s) => s.name === name && fits(s.labels, wanted)).reduce((sum, s) => sum + s.value, 0),
    };
}

function checkHistogram(name, { samples }) {
    const series = new Map();
    for (const sample of samples) {
        const { le, ...labels } = sample.labels;
        const key = JSON.stringify(labels);
        if (!series.has(key))
            series.set(key, { buckets: [] });
        if (sample.name === `${name}_bucket`)
            series.get(key).buckets.push({ le: le === '+Inf' ? Infinity : Number(le), value: sample.value });
        else
            series.get(key)[sample.name.slice(name.length + 1)] = sample.value;
    }
    for (const [key, { buckets, count, sum }] of series) {
        assert.ok(buckets.length > 1 && buckets.at(-1).le === Infinity, `${name}${key} ends with +Inf`);
        assert.ok(buckets.every((b, i) => i === 0 || (b.le > buckets[i - 1].le && b.value >= buckets[i - 1].value)), `${name}${key} grows`);
        assert.equal(buckets.at(-1).value, count, `${name}${key}: +Inf is the count`);
        assert.ok(Number.isFinite(sum), `${name}${key} has a sum`);
    }
}
