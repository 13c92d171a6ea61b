// What the dashboard computes, without a browser.

import assert from 'node:assert/strict';
import test from 'node:test';
import Papa from 'papaparse';
import { load } from './modules.mjs';

const [format, sse, series, range, model, csv, { Recent, commonFields }] = await Promise.all(
    ['format.js', 'sse.js', 'series.js', 'range.js', 'fleet_model.js', 'csv.js', 'recent.js'].map(load));

/** Runs f over rows of [arguments.., expected]. */
function table(name, f, rows) {
    test(name, () => {
        for (const row of rows)
            assert.deepEqual(f(...row.slice(0, -1)), row.at(-1), JSON.stringify(row.slice(0, -1)));
    });
}

// --- format

table('an age is the largest whole unit', format.age, [
    [100, 100, 'just now'], [100, 101.9, 'just now'], [100, 102, '2 s ago'], [0, 59, '59 s ago'], [0, 60, '1 min ago'], [0, 3599, '59 min ago'],
    [0, 3600, '1 h ago'], [0, 86_399, '23 h ago'], [0, 86_400, '1 d ago'], [0, 864_000, '10 d ago'], [null, 5, 'never'],
    [105, 100, 'just now'], // clocks differ
]);

table('a number keeps five digits, a whole one all of them', format.number, [
    [21.4, '21.4'], [0, '0'], [-3.5, '\u22123.5'], [33.990000000000002, '33.99'], [123456.789, '123460'], [123456789, '123456789'], [1e21, '1.000e21'],
    [1.5e-7, '1.500e-7'], [0.00012, '0.00012'], [1.23456789, '1.2346'],
]);

table('a unit is shown where the name of the field says it', (name) => Object.values(format.field(name)), [
    ['temperature', ['temperature', '']], ['temperature_c', ['temperature', '°C']], ['temperatureC', ['temperature', '°C']], ['tempCelsius', ['temp', '°C']],
    ['humidity_percent', ['humidity', '%']], ['pressure_hPa', ['pressure', 'hPa']], ['batteryMv', ['battery', 'mV']], ['battery-v', ['battery', 'V']],
    ['rssi_dBm', ['rssi', 'dBm']], ['env.co2Ppm', ['env.co2', 'ppm']], ['c', ['c', '']], ['fan_c2', ['fan_c2', '']], ['', ['', '']], ['constructor_constructor', ['constructor_constructor', '']],
]);

table('any value is one line of text', format.text, [
    [null, '\u2013'], [undefined, '\u2013'], ['<b>', '<b>'], [1.5, '1.5'], [true, 'true'], [{ a: [1] }, '{"a":[1]}'],
]);

test('a time goes through an input and back', () => {
    const at = 1_795_417_203;
    assert.equal(Date.parse(format.inputTime(at)) / 1000, at);
});

// --- sse

const STREAM = ': hello\r\nretry: 2000\nid: p0\n\nevent: reading\rid: p1\rdata: {"a":"ü"}\r\revent: reading\r\nid: p2\r\ndata: one\r\ndata:two\r\n\r\n: beat\n\nid: p3\n\ndata: cut';
const EVENTS = [{ event: 'reading', data: '{"a":"ü"}', id: 'p1' }, { event: 'reading', data: 'one\ntwo', id: 'p2' }];

test('a stream is read alike wherever it is cut', () => {
    const bytes = new TextEncoder().encode(STREAM);
    for (let size = 1; size <= bytes.length; size++) {
        const events = [];
        const parser = sse.sseParser((event) => events.push(event));
        for (let at = 0; at < bytes.length; at += size)
            parser.push(bytes.subarray(at, at + size));
        assert.deepEqual(events, EVENTS, `pieces of ${size}`);
        assert.equal(parser.lastEventId, 'p3');
        assert.equal(parser.retry, 2000);
    }
});

test('an id counts once its block is whole', () => {
    const parser = sse.sseParser(() => {});
    parser.push(new TextEncoder().encode('id: a\n\nid: b\n'));
    assert.equal(parser.lastEventId, 'a');
});

// --- series

table('numeric fields are found at any depth, null where there is no number', series.numericFields, [
    [{ a: 1, b: { c: 2, d: { e: 3 } }, s: 'x', n: null, l: [1] }, [['a', 1], ['b.c', 2], ['b.d.e', 3], ['s', null], ['n', null]]],
    [null, []],
]);

const line = (...points) => ({ times: points.map(([time]) => time), values: points.map(([, value]) => value) });
const everyS = (from, step, n) => Array.from({ length: n }, (_, i) => [from + i * step, 1]);
const gapsOf = (result) => result.times.filter((_, i) => result.values[i] === null);

table('a gap is more than three times the usual interval around it', (points) => gapsOf(series.withGaps(line(...points))), [
    [[], []],
    [[[0, 1]], []],
    [[[0, 1], [1000, 1]], []], // nothing is usual
    [everyS(0, 60, 10), []],
    [[...everyS(0, 60, 10), ...everyS(600 + 180, 60, 10)], [540 + 120]],
    [[...everyS(0, 60, 10), ...everyS(540 + 180, 60, 10)], []],
    [[...everyS(0, 60, 10), ...everyS(541, 1, 50)], []], // another pace, from here on
    [[...everyS(0, 1, 20), ...everyS(40, 1, 20)], [29.5]],
    [[...everyS(0, 0, 9), [3, 1]], []], // several a second
]);

test('a null in the readings is a gap, an absent field is not', () => {
    const many = new series.Series();
    many.add([{ timestamp: 1, data: { a: 1 } }, { timestamp: 2, data: { b: 1 } }, { timestamp: 3, data: { a: null } }, { timestamp: 4, data: { a: 2, s: 'text' } }]);
    assert.deepEqual(many.names, ['a', 'b']);
    const { times, values } = many.line('a');
    assert.deepEqual([times, values], [[1, 3, 4], [1, null, 2]]);
});

test('older pages come before, new readings after, and what slid out is forgotten', () => {
    const many = new series.Series();
    const some = (from, n) => Array.from({ length: n }, (_, i) => ({ timestamp: from + i, data: { v: from + i } }));
    many.add(some(500, 10), true);
    many.add(some(300, 200), true);
    many.add(some(510, 5));
    assert.deepEqual(many.line('v').times, [...some(300, 215)].map((r) => r.timestamp));
    assert.deepEqual(many.readings.map((r) => r.timestamp), many.line('v').times);
    many.dropBefore(499);
    assert.deepEqual(many.line('v').times, Array.from({ length: 15 }, (_, i) => 500 + i));
});

test('thinning keeps every spike, every gap and the ends', () => {
    const points = Array.from({ length: 20_000 }, (_, i) => [i, Math.sin(i / 500)]);
    points[7001][1] = 99;
    points[13_003][1] = -99;
    for (let i = 9000; i < 9100; i++)
        points[i][1] = null;
    const thinned = series.thin(line(...points), 0, 20_000, 300);
    assert.ok(thinned.times.length <= 300 * 4 + 10, `${thinned.times.length} points`);
    assert.ok(thinned.values.includes(99) && thinned.values.includes(-99));
    assert.ok(thinned.values.includes(null));
    assert.equal(thinned.times[0], 0);
    assert.equal(thinned.times.at(-1), 19_999);
    assert.deepEqual(thinned.times, [...thinned.times].sort((a, b) => a - b));
    const small = line([1, 1], [2, 2]);
    assert.deepEqual(series.thin(small, 0, 10, 100), small);
});

table('a line in four words', (points, from, to) => series.summary(line(...points), from, to), [
    [[], 0, 10, undefined],
    [[[1, 5], [2, null], [3, 2], [4, 4]], 0, 10, { last: 4, lowest: 2, highest: 5, count: 3 }],
    [[[1, 5], [3, 2], [4, 4]], 1, 3, { last: 2, lowest: 2, highest: 2, count: 1 }],
]);

// --- range

table('the address says the range', (query) => range.rangeOf(new URLSearchParams(query)), [
    ['', { name: '1h', span: 3600 }], ['range=7d', { name: '7d', span: 604_800 }], ['range=9y', { name: '1h', span: 3600 }],
    ['from=100&to=200', { name: '', span: 100, from: 100, to: 200 }], ['from=200&to=100', { name: '1h', span: 3600 }], ['from=a&to=b', { name: '1h', span: 3600 }],
]);

table('a range of one\'s own has to make sense', (from, to) => range.rangeFromInputs(from, to).error ?? 'fine', [
    ['2026-11-24T02:00:00', '2026-11-24T03:00:00', 'fine'], ['', '2026-11-24T03:00:00', 'Give both a beginning and an end.'],
    ['2026-11-24T03:00:00', '2026-11-24T03:00:00', 'The end has to be after the beginning.'], ['2020-01-01T00:00', '2026-01-01T00:00', 'The range is longer than 366 days.'],
]);

// --- fleet

const NOW = 1_000_000;
table('a device is what it says, unless it was not heard of for five minutes', (device, seenAt) => model.stateOf(device, seenAt, NOW), [
    [{ status: 'online' }, NOW, 'online'], [{ status: 'Online' }, NOW - 300, 'online'], [{ status: 'online' }, NOW - 301, 'stale'], [{ status: 'online' }, null, 'unknown'],
    [{ status: 'offline' }, NOW, 'offline'], [{ status: 'offline' }, NOW - 9999, 'offline'], [{ status: 'online', enabled: false }, NOW, 'offline'],
    [{ status: 'degraded' }, NOW, 'unknown'], [{ status: 'degraded' }, NOW - 9999, 'stale'], [{ status: { a: 1 } }, NOW, 'unknown'],
    [{ status: null, connectionState: 'Connected' }, NOW, 'online'], [{ status: null, connectionState: 'Disconnected' }, NOW, 'offline'],
    [{ status: null, connectionState: 'Disconnected' }, NOW - 9999, 'stale'], [{ status: null }, null, 'unknown'], [{ status: 'online', connectionState: 'Disconnected' }, NOW, 'online'],
]);

table('what a device says beyond its state stands beside it', (device) => model.remark(device, model.stateOf(device, NOW, NOW)), [
    [{ status: 'online' }, ''], [{ status: 'degraded' }, 'degraded'], [{ status: null }, ''], [{ status: 'online', enabled: false }, 'disabled'], [{ status: 7 }, '7'], [{ status: { a: 1 } }, '{"a":1}'],
]);

table('times come in several forms', model.timeOf, [
    ['1970-01-01T00:16:40Z', 1000], [1_795_417_200, 1_795_417_200], [1_795_417_200_000, 1_795_417_200], ['soon', null], [null, null], [{}, null], [-1, null],
]);

const row = (id, more = {}) => ({ id, firmware: '', state: 'online', remark: '', seenAt: null, ...more });
const ids = (rows) => rows.map(({ id }) => id).join(' ');

test('devices are sorted as people count, those without a value last in both directions', () => {
    const rows = [row('d10'), row('d2', { seenAt: 5 }), row('d1', { seenAt: 9, state: 'offline' })];
    assert.equal(ids(model.sort(rows, 'device', false)), 'd1 d2 d10');
    assert.equal(ids(model.sort(rows, 'device', true)), 'd10 d2 d1');
    assert.equal(ids(model.sort(rows, 'seen', false)), 'd2 d1 d10');
    assert.equal(ids(model.sort(rows, 'seen', true)), 'd1 d2 d10');
    assert.equal(ids(model.sort(rows, 'status', false)), 'd1 d2 d10');
    const values = (value) => ({ values: new Map([['t', { value }]]) });
    assert.equal(ids(model.sort([row('a'), row('b', values(1)), row('c', values(2))], 'value:t', true)), 'c b a');
});

test('a search takes every word, a filter one state', () => {
    const rows = [row('pump-1', { firmware: '1.4' }), row('pump-2', { firmware: '1.5', state: 'offline' }), row('fan-1', { firmware: '1.5' })];
    assert.equal(ids(model.filter(rows, '', '')), 'pump-1 pump-2 fan-1');
    assert.equal(ids(model.filter(rows, 'PUMP 1.5', '')), 'pump-2');
    assert.equal(ids(model.filter(rows, '', 'online')), 'pump-1 fan-1');
    assert.equal(ids(model.filter(rows, '.*', '')), '');
});

table('the fleet in a sentence', (states) => model.sentence(model.tally(states.map((state) => ({ state })))), [
    [['online', 'online', 'offline'], '3 devices: 2 online, 1 offline'], [['online', 'online'], 'All 2 devices are online'], [['stale'], '1 device, stale'],
]);

// --- recent

test('an hour is kept in minutes, whatever comes', () => {
    const recent = new Recent();
    for (let at = 0; at < 3 * 3600; at += 10)
        recent.add({ timestamp: at, data: { v: at % 60 } });
    const { times, values } = recent.line('v', 3 * 3600);
    assert.ok(times.length >= 59 && times.length <= 61, `${times.length} minutes`);
    assert.ok(values.every((value) => value === 25));
    assert.ok(recent.fields.get('v').minutes.size <= 61);
    recent.add({ timestamp: 5, data: { v: -1 } });
    assert.equal(recent.fields.get('v').value, 50, 'an old reading is not the latest value');
    recent.add({ timestamp: 3 * 3600, data: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`f${i}`, i])) });
    assert.ok(recent.fields.size <= 12);
});

test('columns are what most devices have, and stay once they are there', () => {
    const having = (...names) => ({ fields: new Map(names.map((name) => [name, {}])) });
    assert.deepEqual(commonFields([having('a', 'b'), having('b', 'c'), having('b', 'c')], 2), ['b', 'c']);
    assert.deepEqual(commonFields([having('a', 'b'), having('b', 'c')], 3, ['z']), ['z', 'b', 'a']);
});

// --- csv

table('CSV pages with the same header are put together byte by byte', csv.joinPages, [
    [['a,b\r\n1,2\r\n'], 'a,b\r\n1,2\r\n'],
    [['a,b\r\n1,2\r\n', 'a,b\r\n3,"x\r\ny"\r\n'], 'a,b\r\n1,2\r\n3,"x\r\ny"\r\n'],
    [['"a\r\n""q"""\r\n1\r\n', '"a\r\n""q"""\r\n2\r\n'], '"a\r\n""q"""\r\n1\r\n2\r\n'],
    [[], ''],
]);

test('CSV pages of other columns get the union, as an independent parser reads it', () => {
    const joined = csv.joinPages(['t,a\r\n1,"x,""y"""\r\n', 't,b,a\r\n2,"line\r\nbreak",\r\n', 't\r\n3\r\n']);
    assert.deepEqual(Papa.parse(joined, { header: true, skipEmptyLines: true }).data, [
        { t: '1', a: 'x,"y"', b: '' }, { t: '2', a: '', b: 'line\r\nbreak' }, { t: '3', a: '', b: '' },
    ]);
});
