resource "azurerm_cosmosdb_account" "main" {
  name                          = "cosmos-${local.name}-${local.unique}"
  resource_group_name           = azurerm_resource_group.main.name
  location                      = azurerm_resource_group.main.location
  offer_type                    = "Standard"
  kind                          = "GlobalDocumentDB"
  local_authentication_disabled = true
  minimal_tls_version           = "Tls12"

  consistency_policy {
    consistency_level = "Session"
  }

  geo_location {
    location          = azurerm_resource_group.main.location
    failover_priority = 0
  }
}

resource "azurerm_cosmosdb_sql_database" "iot" {
  name                = "iot"
  resource_group_name = azurerm_resource_group.main.name
  account_name        = azurerm_cosmosdb_account.main.name
}

resource "azurerm_cosmosdb_sql_container" "telemetry" {
  name                = "telemetry"
  resource_group_name = azurerm_resource_group.main.name
  account_name        = azurerm_cosmosdb_account.main.name
  database_name       = azurerm_cosmosdb_sql_database.iot.name
  partition_key_paths = ["/deviceId"]
  # The hot path keeps 7 days; telemetryd writes the same into every item (TELEMETRYD_TTL).
  default_ttl = 604800

  autoscale_settings {
    max_throughput = 4000
  }

  # What telemetryd's queries filter and sort by, and nothing else: readings have any shape, and an index of all of it would be most of what a
  # write costs.
  indexing_policy {
    indexing_mode = "consistent"

    included_path {
      path = "/deviceId/?"
    }

    included_path {
      path = "/_ts/?"
    }

    excluded_path {
      path = "/*"
    }
  }
}
