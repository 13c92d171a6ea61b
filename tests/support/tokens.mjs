// An issuer without a server: a key of its own, the set that goes with it as a file, and tokens signed by hand.

import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDirectory } from './temp.mjs';

const ISSUER = 'https://issuer.example/v2.0';
const AUDIENCE = 'api://telemetryd';

const segment = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Returns {env: the settings that trust it, token(claims): a token, good for an hour unless the claims say otherwise, bearer(claims): its headers}. */
export function localIssuer() {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kid = randomUUID();
    const file = join(tempDirectory(), 'jwks.json');
    writeFileSync(file, JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] }));

    const token = (claims = {}) => {
        const now = Math.floor(Date.now() / 1000);
        const text = `${segment({ alg: 'ES256', typ: 'JWT', kid })}.${segment({ iss: ISSUER, aud: AUDIENCE, iat: now, nbf: now, exp: now + 3600, jti: randomUUID(), ...claims })}`;
        return `${text}.${sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
    };
    return {
        env: { TELEMETRYD_AUTH: 'jwt', TELEMETRYD_JWT_ISSUER: ISSUER, TELEMETRYD_JWT_AUDIENCE: AUDIENCE, TELEMETRYD_JWT_JWKS: file },
        token,
        bearer: (claims) => ({ authorization: `Bearer ${token(claims)}` }),
    };
}
