resource "azurerm_eventhub_namespace" "main" {
  name                         = "evhns-${local.name}-${local.unique}"
  resource_group_name          = azurerm_resource_group.main.name
  location                     = azurerm_resource_group.main.location
  sku                          = "Standard"
  capacity                     = 1
  auto_inflate_enabled         = true
  maximum_throughput_units     = 4
  local_authentication_enabled = false
  minimum_tls_version          = "1.2"
}

resource "azurerm_eventhub" "telemetry" {
  name              = "telemetry"
  namespace_id      = azurerm_eventhub_namespace.main.id
  partition_count   = 4
  message_retention = 7
}

resource "azurerm_eventhub_consumer_group" "pipeline" {
  name                = "pipeline"
  namespace_name      = azurerm_eventhub_namespace.main.name
  eventhub_name       = azurerm_eventhub.telemetry.name
  resource_group_name = azurerm_resource_group.main.name
}
