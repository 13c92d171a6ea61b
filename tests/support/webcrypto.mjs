// Node 18, which Debian 12 has, does not show Web Crypto as a global; @azure/cosmos signs with it. Import this before the SDK.

import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto;
