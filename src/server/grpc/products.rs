//! What the options of a stream ask for.

use super::proto::esm_embed::{Options, Pool as Named};
use crate::product::{OutDtype, Pool, Product, Request};
use crate::server::refusal::{Kind, Refusal};
use crate::server::service::{Service, Wanted};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The products; the mean if neither pools nor anything else is named.
///
/// # Errors
/// A layer or product that this server does not have, or a pool that there is not.
pub fn products(service: &Service, options: &Options) -> Result<Arc<[Product]>, Refusal> {
    let mut pools = Vec::new();
    for &number in &options.pools {
        let pool = match Named::try_from(number) {
            Ok(Named::Mean) => Pool::Mean,
            Ok(Named::Bos) => Pool::Bos,
            Ok(Named::Max) => Pool::Max,
            Ok(Named::Unspecified) | Err(_) => {
                let text = format!(
                    "pool {number}: there are POOL_MEAN (1), POOL_BOS (2) and POOL_MAX (3)"
                );
                return Err(Refusal::new(Kind::Invalid, text));
            }
        };
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    let Options {
        residues,
        logits,
        contacts,
        ..
    } = *options;
    if pools.is_empty() && !residues && !logits && !contacts {
        pools.push(Pool::Mean);
    }
    let mut layers: BTreeSet<Option<i64>> = BTreeSet::new();
    layers.extend(options.layers.iter().map(|&layer| Some(layer.into())));
    if layers.is_empty() {
        layers.insert(None);
    }
    let mut all = Vec::new();
    for layer in layers {
        let wanted = Wanted {
            layer,
            pools: pools.clone(),
            residues,
            logits,
            contacts,
        };
        all.extend_from_slice(&service.products(&wanted)?);
    }
    Ok(Request::new(all, OutDtype::F32).products().into())
}
