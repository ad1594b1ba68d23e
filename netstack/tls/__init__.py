"""TLS client: OpenSSL shakes hands, our own record layer opens and seals (tls.h)."""
