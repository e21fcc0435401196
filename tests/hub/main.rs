//! The Hub: downloads from a server on loopback, the cache, adapters, published names, proxies and faults.

mod adapters;
mod cache;
mod faults;
mod names;
mod run;
mod server;
mod tls;
