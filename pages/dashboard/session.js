// session.js - the access token, where the server asks for one. It lives in this tab's sessionStorage, leaves it only as an Authorization
// header, and is forgotten when the server refuses it.

const KEY = 'telemetryd.token';

let token = null;
try {
    token = sessionStorage.getItem(KEY);
} catch {
    // No storage: the token lasts as long as the page.
}

/** Fires 'change' whenever the token or the need for one changes. */
export const session = new EventTarget();

/** Why a token is asked for: '' where none is, else a sentence. */
session.asking = '';

session.token = () => token;

session.set = (value) => {
    token = value;
    session.asking = '';
    try {
        if (value === null)
            sessionStorage.removeItem(KEY);
        else
            sessionStorage.setItem(KEY, value);
    } catch {
        // As above.
    }
    session.dispatchEvent(new Event('change'));
};

/** The server answered 401 to a request that carried `used`. */
session.refused = (used) => {
    if (used !== token)
        return; // another one has come since
    const why = used === null ? 'This server asks for an access token.' : 'The token was refused: it has expired, or is not for this server.';
    session.set(null);
    session.asking = why;
    session.dispatchEvent(new Event('change'));
};

session.signOut = () => {
    session.set(null);
    session.asking = 'You have signed out.';
    session.dispatchEvent(new Event('change'));
};

/** Waits while a token is asked for. Rejects when the signal aborts. */
session.ready = (signal) => new Promise((resolve, reject) => {
    const look = () => {
        if (session.asking !== '' && !signal.aborted)
            return;
        session.removeEventListener('change', look);
        signal.removeEventListener('abort', look);
        if (signal.aborted)
            reject(signal.reason);
        else
            resolve();
    };
    session.addEventListener('change', look);
    signal.addEventListener('abort', look);
    look();
});
