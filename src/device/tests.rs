use super::*;

fn gpu(number: usize) -> Gpu {
    Gpu {
        number,
        name: "NVIDIA H200".to_owned(),
        capability: (9, 0),
        memory: 150_323_855_360,
        multiprocessors: 132,
        cache: 50 << 20,
        driver: 13000,
        driver_version: Some("580.95.05".to_owned()),
    }
}

#[test]
fn gpus_that_are_not_there_are_refused_and_never_replaced() {
    let requested = GpuChoice::These(vec![1]);
    let choice = DeviceChoice::Cuda(requested);
    let refused = |gpus: Result<Vec<Gpu>, String>| {
        let chosen = chosen(&choice, None, || gpus);
        chosen.map_err(|error| error.to_string()).unwrap_err()
    };
    assert_eq!(
        refused(Err("no driver is installed".to_owned())),
        "`device=cuda:1` cannot be used: no driver is installed\n\
         hint: use `device=cpu` or `device=auto` to compute on the CPU"
    );
    assert_eq!(
        refused(Ok(vec![gpu(0)])),
        "`device=cuda:1`: there is no GPU 1; the visible GPUs are numbered 0 to 0\n\
         hint: the environment variable CUDA_VISIBLE_DEVICES selects the visible GPUs"
    );
}

#[test]
fn requested_gpus_are_used() {
    let three = || Ok(vec![gpu(0), gpu(1), gpu(2)]);
    let some = DeviceChoice::Cuda(GpuChoice::These(vec![0, 2]));
    assert_eq!(chosen(&some, None, three), Ok((vec![gpu(0), gpu(2)], None)));
    let all = DeviceChoice::Cuda(GpuChoice::All);
    assert_eq!(chosen(&all, None, three).map(|(gpus, _)| gpus.len()), Ok(3));
    assert_eq!(
        gpu(0).to_string(),
        "0: NVIDIA H200, compute capability 9.0, 140.0 GiB, driver 580.95.05 for CUDA 13.0"
    );
    let mixed = || {
        let name = "NVIDIA A100".to_owned();
        Ok(vec![gpu(0), Gpu { name, ..gpu(1) }])
    };
    assert_eq!(
        chosen(&all, None, mixed),
        Err(DeviceError::Mixed {
            requested: GpuChoice::All,
            kinds: "NVIDIA A100, NVIDIA H200".to_owned()
        })
    );
    let second = DeviceChoice::Cuda(GpuChoice::These(vec![1]));
    assert!(chosen(&second, None, mixed).is_ok());
    let device = Device {
        gpus: vec![gpu(0), gpu(2)],
        ..Device::cpu(CpuPath::Portable)
    };
    assert_eq!(device.to_string(), "cuda (NVIDIA H200)");
    assert_eq!(device.usual_dtype(), Dtype::F16);
    assert_eq!([1, 8, 32].map(|threads| device.lanes(threads)), [3, 4, 6]);
}

#[test]
fn older_gpus_have_fewer_number_formats() {
    let old = |number, name: &str, capability| Gpu {
        name: name.to_owned(),
        capability,
        ..gpu(number)
    };
    let t4 = old(0, "Tesla T4", (7, 5));
    let one = || Ok(vec![t4.clone()]);
    let cuda = DeviceChoice::Cuda(GpuChoice::These(vec![0]));
    for dtype in [None, Some(Dtype::F16), Some(Dtype::F32)] {
        assert_eq!(chosen(&cuda, dtype, one), Ok((vec![t4.clone()], None)));
    }
    let why = |dtype| {
        format!(
            "`dtype={dtype}` needs compute capability 8.0, and Tesla T4 has 7.5\n\
             hint: use `dtype=f16` or `dtype=f32`"
        )
    };
    for dtype in [Dtype::Bf16, Dtype::Tf32] {
        let refused = chosen(&cuda, Some(dtype), one).map_err(|error| error.to_string());
        assert_eq!(refused, Err(why(dtype)));
        let by_auto = chosen(&DeviceChoice::Auto, Some(dtype), one);
        assert_eq!(by_auto, Ok((vec![], Some(why(dtype)))));
    }
    // A newer GPU comes first, and one that is too old is left out.
    let three = || {
        let volta = old(0, "Tesla V100", (7, 0));
        Ok(vec![
            volta,
            Gpu {
                number: 1,
                ..t4.clone()
            },
            gpu(2),
        ])
    };
    let by_auto = chosen(&DeviceChoice::Auto, None, three);
    assert_eq!(by_auto, Ok((vec![gpu(2)], None)));
    let fallback = |gpus| {
        let device = Device {
            gpus,
            ..Device::cpu(CpuPath::Portable)
        };
        device.fallback()
    };
    assert_eq!(fallback(vec![t4.clone()]), Fallback::F32);
    assert_eq!(fallback(vec![gpu(0)]), Fallback::Bf16);
}

fn no_gpu() -> Result<Vec<Gpu>, String> {
    Err("no NVIDIA driver is installed".to_owned())
}

#[test]
fn tf32_is_for_gpus() {
    let refused = |choice| {
        let resolved = Device::resolve(&choice, None, Some(Dtype::Tf32), no_gpu);
        resolved.map_err(|error| error.to_string()).unwrap_err()
    };
    assert_eq!(
        refused(DeviceChoice::Cpu),
        "`dtype=tf32` is a number format of GPUs, and the CPU would compute\n\
         hint: use `dtype=f32`, or `device=cuda`"
    );
    assert_eq!(
        refused(DeviceChoice::Auto),
        "`dtype=tf32` is a number format of GPUs, and the CPU would compute because no NVIDIA \
         driver is installed\nhint: use `dtype=f32`, or `device=cuda`"
    );
    assert_eq!(Dtype::Tf32.to_string(), "tf32");
}

#[test]
fn paths_of_the_cpu() {
    let resolve = |path, dtype| Device::resolve(&DeviceChoice::Auto, path, dtype, no_gpu);
    let portable = resolve(Some(CpuPath::Portable), Some(Dtype::F16));
    assert_eq!(portable.map(|d| d.path), Ok(CpuPath::Portable));
    let best = CpuPath::detect();
    assert_eq!(resolve(None, None).map(|d| d.path), Ok(best));
    if best < CpuPath::Avx512Vnni {
        assert_eq!(
            resolve(Some(CpuPath::Avx512Vnni), None),
            Err(DeviceError::NoPath {
                requested: CpuPath::Avx512Vnni,
                best
            })
        );
    }
}
