/* GET /openapi.json and /openapi.yaml: the contract that the server was built with. */
#include "handlers.h"

#include "openapi_document.h"
#include "respond.h"

void docs_openapi_json(struct request *request)
{
    respond_static(request, 200, "application/json; charset=utf-8", openapi_json, openapi_json_len);
}

void docs_openapi_yaml(struct request *request)
{
    respond_static(request, 200, "application/yaml; charset=utf-8", openapi_yaml, openapi_yaml_len);
}
