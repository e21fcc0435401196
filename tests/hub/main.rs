//! The Hub: downloads from a server on loopback, the cache, published names, proxies and faults.

mod cache;
mod faults;
mod names;
mod run;
mod server;
mod tls;
