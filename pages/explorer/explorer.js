// The explorer: Swagger UI on this server's own contract. A token that is given to "Authorize" stays in memory.
//
// Swagger UI is a classic script; what is ours are modules beside this one.

import { prepared } from '/assets/explorer_contract.js';
import { fetchExcerpt, isStream } from '/assets/explorer_excerpt.js';
import { keepLabelled } from '/assets/explorer_labels.js';

/** What we want otherwise than Swagger UI does, by its own means. */
const adjustments = (system) => ({
    statePlugins: { spec: { wrapActions: { updateJsonSpec: (update) => (contract) => update(prepared(contract)) } } },
    wrapComponents: {
        // The one server is this one.
        ServersContainer: () => () => null,
        // A link inside of a button can be reached by nobody who uses the keyboard; the button itself changes the address as well.
        DeepLink: () => ({ text }) => system.React.createElement('span', null, text),
    },
});

keepLabelled(document.getElementById('explorer'));
window.SwaggerUIBundle({
    url: '/openapi.json',
    dom_id: '#explorer',
    plugins: [adjustments],
    deepLinking: true,
    validatorUrl: null,
    persistAuthorization: false,
    withCredentials: false,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    syntaxHighlight: { activated: true, theme: 'obsidian' },
    requestInterceptor(request) {
        if (isStream(request.url))
            request.userFetch = fetchExcerpt;
        return request;
    },
});
