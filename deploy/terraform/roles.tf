# Who may do what: each role is as narrow as it comes, and on one thing. No key is handed to anybody.

locals {
  cosmos_reader      = "${azurerm_cosmosdb_account.main.id}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000001"
  cosmos_contributor = "${azurerm_cosmosdb_account.main.id}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000002"
  cosmos_telemetry   = "${azurerm_cosmosdb_account.main.id}/dbs/${azurerm_cosmosdb_sql_database.iot.name}/colls/${azurerm_cosmosdb_sql_container.telemetry.name}"
}

# --- telemetryd

# The account's own document is read as well, hence not the container alone.
resource "azurerm_cosmosdb_sql_role_assignment" "telemetryd" {
  resource_group_name = azurerm_resource_group.main.name
  account_name        = azurerm_cosmosdb_account.main.name
  role_definition_id  = var.stores_readings ? local.cosmos_contributor : local.cosmos_reader
  principal_id        = azurerm_user_assigned_identity.telemetryd.principal_id
  scope               = azurerm_cosmosdb_account.main.id
}

resource "azurerm_role_assignment" "telemetryd_reads_twins" {
  scope                = azurerm_iothub.main.id
  role_definition_name = "IoT Hub Data Reader"
  principal_id         = azurerm_user_assigned_identity.telemetryd.principal_id
  principal_type       = "ServicePrincipal"
}

# --- the hub

resource "azurerm_role_assignment" "hub_sends" {
  scope                = azurerm_eventhub.telemetry.id
  role_definition_name = "Azure Event Hubs Data Sender"
  principal_id         = azurerm_iothub.main.identity[0].principal_id
  principal_type       = "ServicePrincipal"
}

# --- the pipeline

resource "azurerm_role_assignment" "pipeline_receives" {
  scope                = azurerm_eventhub.telemetry.id
  role_definition_name = "Azure Event Hubs Data Receiver"
  principal_id         = azurerm_user_assigned_identity.pipeline.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_cosmosdb_sql_role_assignment" "pipeline" {
  resource_group_name = azurerm_resource_group.main.name
  account_name        = azurerm_cosmosdb_account.main.name
  role_definition_id  = local.cosmos_contributor
  principal_id        = azurerm_user_assigned_identity.pipeline.principal_id
  scope               = local.cosmos_telemetry
}

resource "azurerm_role_assignment" "pipeline_writes_lake" {
  scope                = azurerm_storage_account.lake.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.pipeline.principal_id
  principal_type       = "ServicePrincipal"
}

# The Functions host asks for this on its own account.
resource "azurerm_role_assignment" "pipeline_keeps_checkpoints" {
  scope                = azurerm_storage_account.function.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = azurerm_user_assigned_identity.pipeline.principal_id
  principal_type       = "ServicePrincipal"
}
