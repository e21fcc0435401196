//! `grpc.health.v1.Health`: NOT_SERVING until the model is loaded, and again when the server is about
//! to end.

use crate::server::shared::{Phase, Shared};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The service.
pub struct Probes {
    /// What all requests share.
    pub shared: Arc<Shared>,
    /// The services that can be asked about. The empty name is the whole server.
    pub services: &'static [&'static str],
}

impl Probes {
    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

#[tonic::async_trait]
impl Health for Probes {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.knows(&request.get_ref().service) {
            true => Ok(Response::new(response(of(&self.shared.phase())))),
            false => Err(Status::not_found("there is no service of this name")),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let shared = Arc::clone(&self.shared);
        let is_known = self.knows(&request.get_ref().service);
        tokio::spawn(async move {
            let mut phases = shared.phases();
            loop {
                let phase = phases.borrow_and_update().clone();
                let status = match is_known {
                    true => of(&phase),
                    // It might be added later, in the words of the protocol.
                    false => ServingStatus::ServiceUnknown,
                };
                // The last one closes the stream, for which the server would otherwise wait.
                let is_last = matches!(phase, Phase::Ending);
                drop(phase);
                if sender.send(Ok(response(status))).await.is_err() || is_last {
                    return;
                }
                tokio::select! {
                    changed = phases.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn of(phase: &Phase) -> ServingStatus {
    match phase {
        Phase::Ready(_) => ServingStatus::Serving,
        Phase::Loading | Phase::Ending => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status as i32,
    }
}
