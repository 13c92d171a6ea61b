// The part of Cosmos DB's query language that a telemetry reader needs, evaluated over items in memory.
//
//   SELECT [TOP n|@p] * | VALUE expr | expr [AS name], .. FROM c [WHERE condition] [ORDER BY path [ASC|DESC], ..]
//
// Anything else is a syntax error, as it is a 400 at the service: a query that the fake does not understand must never pass.

const TOKEN = /\s*(?:(?<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?<param>@\w+)|(?<word>[A-Za-z_]\w*)|(?<sign><=|>=|!=|<>|[=<>(),.*[\]]))/y;

export class QueryError extends Error {}

function tokenize(text) {
    const tokens = [];
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.length) {
        const at = TOKEN.lastIndex;
        const match = TOKEN.exec(text);
        if (!match) {
            if (text.slice(at).trim() === '')
                break;
            throw new QueryError(`Syntax error near '${text.slice(at, at + 20)}'`);
        }
        const [kind, value] = Object.entries(match.groups).find(([, v]) => v !== undefined);
        tokens.push({ kind, value });
    }
    return tokens;
}

class Parser {
    #tokens;
    #at = 0;
    #params;
    #alias = 'c';

    constructor(text, params) {
        this.#tokens = tokenize(text);
        this.#params = params;
    }

    #peek() {
        return this.#tokens[this.#at];
    }

    #isWord(word) {
        const token = this.#peek();
        return token?.kind === 'word' && token.value.toUpperCase() === word;
    }

    #takeWord(word) {
        if (!this.#isWord(word))
            return false;
        this.#at++;
        return true;
    }

    #takeSign(sign) {
        const token = this.#peek();
        if (token?.kind !== 'sign' || token.value !== sign)
            return false;
        this.#at++;
        return true;
    }

    #fail() {
        throw new QueryError(`Syntax error, incorrect syntax near '${this.#peek()?.value ?? 'end of query'}'`);
    }

    #need(ok) {
        if (!ok)
            this.#fail();
    }

    query() {
        this.#need(this.#takeWord('SELECT'));
        const top = this.#takeWord('TOP') ? this.#topCount() : undefined;
        const selectFrom = this.#at;
        // The alias stands in FROM, after the select list that uses it.
        const from = this.#tokens.findIndex((t) => t.kind === 'word' && t.value.toUpperCase() === 'FROM');
        this.#need(from > 0);
        this.#at = from + 1;
        const name = this.#peek();
        this.#need(name?.kind === 'word');
        this.#at++;
        this.#alias = name.value;
        if (this.#peek()?.kind === 'word' && !this.#isWord('WHERE') && !this.#isWord('ORDER')) {
            this.#takeWord('AS');
            this.#alias = this.#peek().value;
            this.#at++;
        }
        const afterFrom = this.#at;
        this.#at = selectFrom;
        const select = this.#selectList();
        this.#need(this.#at === from);
        this.#at = afterFrom;

        const where = this.#takeWord('WHERE') ? this.#or() : () => true;
        const orderBy = [];
        if (this.#takeWord('ORDER')) {
            this.#need(this.#takeWord('BY'));
            do {
                const path = this.#path();
                const descending = this.#takeWord('DESC');
                if (!descending)
                    this.#takeWord('ASC');
                orderBy.push({ path, descending });
            } while (this.#takeSign(','));
        }
        this.#need(this.#at === this.#tokens.length);
        return { top, select, where, orderBy };
    }

    #topCount() {
        const token = this.#peek();
        this.#at++;
        const count = token?.kind === 'param' ? this.#param(token.value) : Number(token?.value);
        if (!Number.isInteger(count) || count < 0)
            throw new QueryError('TOP takes a whole number');
        return count;
    }

    #param(name) {
        if (!(this.#params.has(name)))
            throw new QueryError(`The query uses an undefined parameter ${name}`);
        return this.#params.get(name);
    }

    #selectList() {
        if (this.#takeSign('*'))
            return (item) => item;
        if (this.#takeWord('VALUE')) {
            const value = this.#operand();
            return (item) => value(item);
        }
        const columns = [];
        do {
            const start = this.#at;
            const value = this.#operand();
            let name = this.#tokens[this.#at - 1].value;
            if (this.#takeWord('AS')) {
                this.#need(this.#peek()?.kind === 'word');
                name = this.#peek().value;
                this.#at++;
            }
            this.#need(this.#at > start);
            columns.push({ name, value });
        } while (this.#takeSign(','));
        return (item) => {
            const row = {};
            for (const { name, value } of columns) {
                const v = value(item);
                if (v !== undefined) // an undefined column is left out, as the service does
                    row[name] = v;
            }
            return row;
        };
    }

    #path() {
        const token = this.#peek();
        this.#need(token?.kind === 'word' && token.value === this.#alias);
        this.#at++;
        const names = [];
        for (;;) {
            if (this.#takeSign('.')) {
                this.#need(this.#peek()?.kind === 'word');
                names.push(this.#peek().value);
                this.#at++;
            } else if (this.#takeSign('[')) {
                this.#need(this.#peek()?.kind === 'string');
                names.push(this.#peek().value.slice(1, -1));
                this.#at++;
                this.#need(this.#takeSign(']'));
            } else {
                break;
            }
        }
        return (item) => names.reduce((value, name) =>
            value !== null && typeof value === 'object' && Object.hasOwn(value, name) ? value[name] : undefined, item);
    }

    #operand() {
        const token = this.#peek();
        if (token?.kind === 'number') {
            this.#at++;
            return () => Number(token.value);
        }
        if (token?.kind === 'string') {
            this.#at++;
            return () => token.value.slice(1, -1).replace(/\\(.)/g, '$1');
        }
        if (token?.kind === 'param') {
            this.#at++;
            const value = this.#param(token.value);
            return () => value;
        }
        for (const [word, value] of [['TRUE', true], ['FALSE', false], ['NULL', null]]) {
            if (this.#takeWord(word))
                return () => value;
        }
        return this.#path();
    }

    #or() {
        let left = this.#and();
        while (this.#takeWord('OR')) {
            const a = left;
            const b = this.#and();
            left = (item) => a(item) || b(item);
        }
        return left;
    }

    #and() {
        let left = this.#not();
        while (this.#takeWord('AND')) {
            const a = left;
            const b = this.#not();
            left = (item) => a(item) && b(item);
        }
        return left;
    }

    #not() {
        if (this.#takeWord('NOT')) {
            const inner = this.#not();
            return (item) => !inner(item);
        }
        if (this.#takeSign('(')) {
            const inner = this.#or();
            this.#need(this.#takeSign(')'));
            return inner;
        }
        if (this.#takeWord('IS_DEFINED')) {
            this.#need(this.#takeSign('('));
            const path = this.#path();
            this.#need(this.#takeSign(')'));
            return (item) => path(item) !== undefined;
        }
        return this.#comparison();
    }

    #comparison() {
        const left = this.#operand();
        const sign = this.#peek();
        this.#need(sign?.kind === 'sign' && ['=', '!=', '<>', '<', '<=', '>', '>='].includes(sign.value));
        this.#at++;
        const right = this.#operand();
        return (item) => {
            const a = left(item);
            const b = right(item);
            if (a === undefined || b === undefined || typeof a !== typeof b)
                return false; // values of different types do not compare
            switch (sign.value) {
            case '=': return a === b;
            case '!=': case '<>': return a !== b;
            case '<': return a < b;
            case '<=': return a <= b;
            case '>': return a > b;
            default: return a >= b;
            }
        };
    }
}

/** parameters: [{name, value}]. Returns {top, select(item), where(item), orderBy: [{path(item), descending}]}. */
export function parseQuery(text, parameters = []) {
    return new Parser(text, new Map(parameters.map(({ name, value }) => [name, value]))).query();
}
