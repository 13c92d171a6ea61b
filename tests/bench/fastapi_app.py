"""telemetryd's telemetry page and device status, written with FastAPI: one shared httpx client with keep-alive.

With MODELS=1 the answers are declared as models, which is how FastAPI checks and documents what it returns. Without, they are
checked by hand and dumped at once, which skips the framework's own validation and encoding: the faster way.

Settings: COSMOS (base URL), COSMOS_KEY, IOT_HUB (base URL), IOT_HUB_KEY, MODELS. Run by run.py with uvicorn, one worker.
"""
import base64
import datetime
import email.utils
import hashlib
import hmac
import json
import os
import time
import urllib.parse
import uuid
from typing import Any, Literal

import httpx
from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

COSMOS = os.environ['COSMOS']
COSMOS_KEY = base64.b64decode(os.environ['COSMOS_KEY'])
IOT_HUB = os.environ['IOT_HUB']
IOT_HUB_KEY = base64.b64decode(os.environ['IOT_HUB_KEY'])
MODELS = os.environ.get('MODELS') == '1'
HUB_HOST = 'bench.azure-devices.net'
CONTAINER = 'dbs/iot/colls/telemetry'
DEVICE_ID = r"^[A-Za-z0-9\-._~:%*?!(),=@;$'#+]{1,128}$"
QUERY = ('SELECT c.data, c._ts AS timestamp FROM c WHERE c.deviceId = @deviceId AND c._ts > @from AND c._ts <= @to '
         'ORDER BY c._ts ')

app = FastAPI()
client = httpx.AsyncClient(timeout=10, trust_env=False, limits=httpx.Limits(
    max_connections=None, max_keepalive_connections=4096, keepalive_expiry=300))


class Reading(BaseModel):
    data: dict[str, Any]
    timestamp: int


class TelemetryPage(BaseModel):
    deviceId: str
    from_: str  # `from` is a word of the language
    to: str
    count: int
    telemetry: list[Reading]

    class Config:
        fields = {'from_': 'from'}


class DeviceStatus(BaseModel):
    deviceId: str
    status: Any
    lastSeen: Any
    firmwareVersion: Any
    connectionState: str
    enabled: bool


hub_token = {'text': '', 'until': 0}


def cosmos_headers(verb, resource_type, link):
    date = email.utils.formatdate(usegmt=True)
    text = f'{verb.lower()}\n{resource_type}\n{link}\n{date.lower()}\n\n'
    signature = base64.b64encode(hmac.new(COSMOS_KEY, text.encode(), hashlib.sha256).digest()).decode()
    return {'Authorization': urllib.parse.quote(f'type=master&ver=1.0&sig={signature}', safe=''),
            'x-ms-date': date, 'x-ms-version': '2020-07-15'}


def hub_authorization():
    now = int(time.time())
    if hub_token['until'] < now + 300:
        until = now + 3600
        signed = f'{HUB_HOST}\n{until}'.encode()
        signature = base64.b64encode(hmac.new(IOT_HUB_KEY, signed, hashlib.sha256).digest()).decode()
        hub_token['text'] = (f'SharedAccessSignature sr={HUB_HOST}&sig={urllib.parse.quote(signature, safe="")}'
                             f'&se={until}&skn=service')
        hub_token['until'] = until
    return hub_token['text']


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def answer(request, response, content, charge=None):
    headers = {'x-request-id': request.headers.get('x-request-id') or uuid.uuid4().hex,
               'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store'}
    if charge is not None:
        headers['x-ms-request-charge'] = charge
    if MODELS:
        response.headers.update(headers)
        return content
    return JSONResponse(content, headers=headers)


@app.get('/devices/{device_id}/telemetry', response_model=TelemetryPage)
async def read_telemetry(request: Request, response: Response, device_id: str = Path(regex=DEVICE_ID),
                         hours: float = Query(24, gt=0, le=8784), order: Literal['asc', 'desc'] = 'desc',
                         limit: int = Query(1000, ge=1, le=10000)):
    until = int(time.time())
    after = until - int(hours * 3600)
    headers = cosmos_headers('POST', 'docs', CONTAINER)
    headers.update({
        'Content-Type': 'application/query+json', 'x-ms-documentdb-isquery': 'True',
        'x-ms-documentdb-partitionkey': json.dumps([device_id]), 'x-ms-max-item-count': str(limit)})
    query = {'query': QUERY + order.upper(), 'parameters': [
        {'name': '@deviceId', 'value': device_id}, {'name': '@from', 'value': after}, {'name': '@to', 'value': until}]}
    upstream = await client.post(f'{COSMOS}/{CONTAINER}/docs', content=json.dumps(query), headers=headers)
    if upstream.status_code != 200:
        raise HTTPException(502)
    page = upstream.json()
    readings = page['Documents']
    if page['_count'] != len(readings) or not all(isinstance(reading['timestamp'], int) for reading in readings):
        raise HTTPException(502)
    return answer(request, response, {'deviceId': device_id, 'from': rfc3339(after), 'to': rfc3339(until), 'count': len(readings),
                            'telemetry': readings}, upstream.headers.get('x-ms-request-charge'))


@app.get('/devices/{device_id}/status', response_model=DeviceStatus)
async def read_status(request: Request, response: Response, device_id: str = Path(regex=DEVICE_ID)):
    upstream = await client.get(f'{IOT_HUB}/twins/{urllib.parse.quote(device_id, safe="")}?api-version=2021-04-12',
                                headers={'Authorization': hub_authorization()})
    if upstream.status_code == 404:
        raise HTTPException(404, 'Device not found')
    if upstream.status_code != 200:
        raise HTTPException(502)
    twin = upstream.json()
    reported = twin['properties']['reported']
    return answer(request, response, {
        'deviceId': twin['deviceId'], 'status': reported.get('status'), 'lastSeen': reported.get('lastHeartbeat'),
        'firmwareVersion': reported.get('firmwareVersion'), 'connectionState': twin['connectionState'],
        'enabled': twin['status'] == 'enabled'})
