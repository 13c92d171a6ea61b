// sse.js - reading text/event-stream by the HTML standard (9.2.6). Pure, and fed piece by piece: pieces may end anywhere, within a
// character or between CR and LF too.

/**
 * Returns {push(bytes), lastEventId, retry}. push calls onEvent({event, data, id}) for each whole event; comments count for
 * nothing, but whoever pushes knows that something came. retry: what the server asked for in milliseconds, or undefined.
 */
export function sseParser(onEvent) {
    const decoder = new TextDecoder();
    let pending = '';
    let data = [];
    let event = '';
    let id = '';

    const parser = { push, lastEventId: '', retry: undefined };

    function dispatch() {
        parser.lastEventId = id;
        if (data.length > 0)
            onEvent({ event: event || 'message', data: data.join('\n'), id });
        data = [];
        event = '';
    }

    function line(content) {
        if (content === '')
            return dispatch();
        const colon = content.indexOf(':');
        const name = colon < 0 ? content : content.slice(0, colon);
        const value = colon < 0 ? '' : content.slice(colon + 1).replace(/^ /, '');
        if (name === 'data')
            data.push(value);
        else if (name === 'event')
            event = value;
        else if (name === 'id' && !value.includes('\0'))
            id = value;
        else if (name === 'retry' && /^\d+$/.test(value))
            parser.retry = Number(value);
    }

    function push(bytes) {
        pending += decoder.decode(bytes, { stream: true });
        let start = 0;
        for (;;) {
            let end = start;
            while (end < pending.length && pending[end] !== '\n' && pending[end] !== '\r')
                end++;
            // A CR at the very end may be half of CR LF.
            if (end === pending.length || (pending[end] === '\r' && end + 1 === pending.length))
                break;
            line(pending.slice(start, end));
            start = end + (pending[end] === '\r' && pending[end + 1] === '\n' ? 2 : 1);
        }
        pending = pending.slice(start);
    }

    return parser;
}
