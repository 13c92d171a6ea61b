resource "azurerm_iothub" "main" {
  name                = "iot-${local.name}-${local.unique}"
  resource_group_name = azurerm_resource_group.main.name
  location            = azurerm_resource_group.main.location
  # Devices keep their own keys or certificates; nobody has keys of the whole hub.
  local_authentication_enabled = false
  min_tls_version              = "1.2"

  sku {
    name     = "S1"
    capacity = 1
  }

  identity {
    type = "SystemAssigned"
  }

  lifecycle {
    # They are resources of their own, below.
    ignore_changes = [endpoint, route]
  }
}

# Somebody who looks on must not take events from anybody else.
resource "azurerm_iothub_consumer_group" "monitoring" {
  name                   = "monitoring"
  iothub_name            = azurerm_iothub.main.name
  eventhub_endpoint_name = "events"
  resource_group_name    = azurerm_resource_group.main.name
}

resource "azurerm_iothub_endpoint_eventhub" "telemetry" {
  name                = "telemetry"
  resource_group_name = azurerm_resource_group.main.name
  iothub_id           = azurerm_iothub.main.id
  authentication_type = "identityBased"
  endpoint_uri        = "sb://${azurerm_eventhub_namespace.main.name}.servicebus.windows.net"
  entity_path         = azurerm_eventhub.telemetry.name

  depends_on = [azurerm_role_assignment.hub_sends]
}

resource "azurerm_iothub_route" "telemetry" {
  name                = "telemetry"
  resource_group_name = azurerm_resource_group.main.name
  iothub_name         = azurerm_iothub.main.name
  source              = "DeviceMessages"
  condition           = "true"
  endpoint_names      = [azurerm_iothub_endpoint_eventhub.telemetry.name]
  enabled             = true
}
