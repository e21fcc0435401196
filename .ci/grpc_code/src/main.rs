//! Writes the Rust code of the gRPC services: `grpc-code DESCRIPTORS FOLDER`. Called by
//! `.ci/grpc_code.py`.

use prost::Message;
use prost_types::FileDescriptorSet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(descriptors), Some(folder)) = (args.next(), args.next()) else {
        return Err("usage: grpc-code DESCRIPTORS FOLDER".into());
    };
    let files = FileDescriptorSet::decode(std::fs::read(descriptors)?.as_slice())?;
    tonic_prost_build::configure()
        .out_dir(folder)
        .build_client(false)
        .emit_rerun_if_changed(false)
        .bytes(".")
        .codec_path("crate::server::grpc::codec::Codec")
        .compile_fds(files)?;
    Ok(())
}
