resource "azurerm_container_app_environment" "main" {
  name                       = "cae-${local.name}"
  resource_group_name        = azurerm_resource_group.main.name
  location                   = azurerm_resource_group.main.location
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id
}

resource "azurerm_container_app" "telemetryd" {
  name                         = "ca-${local.name}"
  resource_group_name          = azurerm_resource_group.main.name
  container_app_environment_id = azurerm_container_app_environment.main.id
  revision_mode                = "Single"

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.telemetryd.id]
  }

  # Azure ends TLS here and speaks HTTP to the container.
  ingress {
    external_enabled           = true
    allow_insecure_connections = false
    target_port                = 8080
    transport                  = "http"

    traffic_weight {
      latest_revision = true
      percentage      = 100
    }
  }

  template {
    min_replicas = var.replicas.least
    max_replicas = var.replicas.most
    # A drain answers what was asked.
    termination_grace_period_seconds = 30

    container {
      name   = "telemetryd"
      image  = var.image
      cpu    = 0.5
      memory = "1Gi"

      env {
        name  = "TELEMETRYD_LISTEN"
        value = "0.0.0.0:8080"
      }
      env {
        name  = "COSMOS_ENDPOINT"
        value = azurerm_cosmosdb_account.main.endpoint
      }
      env {
        name  = "COSMOS_DATABASE"
        value = azurerm_cosmosdb_sql_database.iot.name
      }
      env {
        name  = "COSMOS_CONTAINER"
        value = azurerm_cosmosdb_sql_container.telemetry.name
      }
      env {
        name  = "IOT_HUB_HOSTNAME"
        value = azurerm_iothub.main.hostname
      }
      env {
        name  = "AZURE_CLIENT_ID"
        value = azurerm_user_assigned_identity.telemetryd.client_id
      }
      env {
        name  = "TELEMETRYD_AUTH"
        value = "jwt"
      }
      env {
        name  = "TELEMETRYD_JWT_ISSUER"
        value = "https://login.microsoftonline.com/${data.azurerm_client_config.current.tenant_id}/v2.0"
      }
      env {
        name  = "TELEMETRYD_JWT_AUDIENCE"
        value = var.jwt_audience
      }
      # Container Apps' ingress; callers are told apart by what it says of them.
      env {
        name  = "TELEMETRYD_TRUSTED_PROXIES"
        value = "100.100.0.0/16"
      }

      liveness_probe {
        transport        = "HTTP"
        port             = 8080
        path             = "/livez"
        interval_seconds = 10
      }
      readiness_probe {
        transport        = "HTTP"
        port             = 8080
        path             = "/readyz"
        interval_seconds = 5
      }
    }

    http_scale_rule {
      name                = "requests"
      concurrent_requests = "400"
    }
  }

  depends_on = [azurerm_cosmosdb_sql_role_assignment.telemetryd, azurerm_role_assignment.telemetryd_reads_twins]
}
