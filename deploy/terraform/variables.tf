variable "environment" {
  description = "Names everything: dev, test, prod ... Lower-case letters and digits, 2 to 10 of them."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "environment must be 2 to 10 lower-case letters and digits, a letter first."
  }
}

variable "location" {
  description = "Where everything lies."
  type        = string
  default     = "westeurope"
}

variable "image" {
  description = "The container image of telemetryd, by digest where it matters: REGISTRY/telemetryd@sha256:..."
  type        = string
}

variable "jwt_audience" {
  description = "The application (client) id or App ID URI that tokens of callers are for."
  type        = string
}

variable "alert_email" {
  description = "Who hears of alerts."
  type        = string
}

variable "stores_readings" {
  description = "Whether readings are also stored through the API (POST). Without it, telemetryd may only read."
  type        = bool
  default     = false
}

variable "replicas" {
  description = "Containers at least and at most. telemetryd keeps nothing, so any number will do."
  type        = object({ least = number, most = number })
  default     = { least = 1, most = 4 }
}
