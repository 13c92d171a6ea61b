// The contract as Swagger UI can do with it. Two things are moved:
//
// Swagger UI fills every parameter in with its example or default and sends them all: an `hours` with a `from`, a cursor of
// nobody's. What is optional loses them to its description, so that a form sends what somebody has typed.
//
// An operation that is opened by its address (deep link) lacks the parameters of its path; each operation gets them as its own.

const METHODS = ['get', 'put', 'post', 'patch', 'delete', 'head', 'options', 'trace'];

const code = (value) => `\`${value}\``;
const mapped = (object, change) => Object.fromEntries(Object.entries(object ?? {}).map(([name, value]) => [name, change(value, name)]));

function withoutPrefill(parameter) {
    if (parameter.$ref || parameter.required)
        return parameter;
    const { example, examples = {}, schema = {}, ...kept } = parameter;
    const { default: fallback, ...bare } = schema;
    const shown = [...(example === undefined ? [] : [example]), ...Object.values(examples).map(({ value }) => value)];
    const notes = [fallback !== undefined && `Default: ${code(fallback)}.`, shown.length > 0 && `For example ${shown.map(code).join(', ')}.`];
    return { ...kept, schema: bare, description: [kept.description, notes.filter(Boolean).join(' ')].filter(Boolean).join('\n\n') };
}

function withOwnParameters({ parameters: shared = [], ...item }) {
    return mapped(item, (operation, name) => (METHODS.includes(name)
        ? { ...operation, parameters: [...shared, ...(operation.parameters ?? [])].map(withoutPrefill) }
        : operation));
}

/** A changed copy; the original is left as it is. */
export function prepared(contract) {
    const { paths, components = {} } = contract;
    return { ...contract, paths: mapped(paths, withOwnParameters), components: { ...components, parameters: mapped(components.parameters, withoutPrefill) } };
}
