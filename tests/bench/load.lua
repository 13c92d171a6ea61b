-- What wrk sends, and its figures as one line of JSON.
--   wrk ... URL -- status    the status of 512 devices in turn, so that few reads can be shared
--   wrk ... URL -- post      one reading with a timestamp of its own to 64 devices in turn
local number = 0
local prepared = {}

local function next_status()
    number = number + 1
    return prepared[number % #prepared + 1]
end

local function next_post()
    number = number + 1
    local body = string.format(
        '{"temperature":21.53,"humidity":40.1,"timestamp":"2026-%02d-%02dT%02d:%02d:%02d.%03dZ"}',
        1 + math.floor(number / 2419200000) % 12, 1 + math.floor(number / 86400000) % 28,
        math.floor(number / 3600000) % 24, math.floor(number / 60000) % 60, math.floor(number / 1000) % 60, number % 1000)
    return wrk.format("POST", "/devices/d" .. number % 64 .. "/telemetry", {["Content-Type"] = "application/json"}, body)
end

function init(args)
    if args[1] == "status" then
        for i = 1, 512 do
            prepared[i] = wrk.format("GET", "/devices/d" .. i .. "/status")
        end
        request = next_status
    elseif args[1] == "post" then
        request = next_post
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    print(string.format(
        'FIGURES {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"errors":%d}',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        e.connect + e.read + e.write + e.status + e.timeout))
end
