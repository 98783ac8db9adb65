//! Choosing where tensors live. Never burn's own default: with several backends compiled in it
//! picks by an order of its own.

use crate::{Error, Result};

/// Where tensors live and are computed: burn's run-time device.
pub use burn::tensor::Device;

/// The names [`device`] knows, with the cargo feature that brings each.
const KNOWN: [(&str, &str); 5] = [
    ("cpu", "flex"),
    ("flex", "flex"),
    ("ndarray", "ndarray"),
    ("wgpu", "wgpu"),
    ("cuda", "cuda"),
];

/// The device called `name`: `cpu` (the same as `flex`), `flex`, `ndarray`, `wgpu` or `cuda`.
///
/// Upper and lower case are the same.
///
/// # Errors
/// [`Error::UnknownDevice`] for any other name, [`Error::MissingFeature`] when this build does not
/// contain the device, [`Error::DeviceUnavailable`] when the machine has no such device.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// let cpu = refrain_core::device("cpu")?;
/// # let _ = cpu;
/// # }
/// assert!(refrain_core::device("abacus").is_err());
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn device(name: &str) -> Result<Device> {
    let lower = name.trim().to_ascii_lowercase();
    match lower.as_str() {
        #[cfg(feature = "flex")]
        "cpu" | "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => {
            // Deprecated upstream, and supported here for parity with projects that still use it.
            #[allow(deprecated)]
            let device = Device::ndarray();
            Ok(device)
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => available(&lower, burn::tensor::DeviceType::Wgpu, || {
            Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
        }),
        #[cfg(feature = "cuda")]
        "cuda" => available(&lower, burn::tensor::DeviceType::Cuda, || Device::cuda(0)),
        other => match KNOWN.iter().find(|(known, _)| *known == other) {
            Some((_, feature)) => Err(Error::MissingFeature {
                device: lower,
                feature,
            }),
            None => Err(Error::UnknownDevice {
                name: name.to_string(),
            }),
        },
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn available(
    name: &str,
    kind: burn::tensor::DeviceType,
    open: impl FnOnce() -> Device,
) -> Result<Device> {
    if Device::enumerate(kind).is_empty() {
        return Err(Error::DeviceUnavailable {
            device: name.to_string(),
            reason: match name {
                "cuda" => "no NVIDIA GPU was found; install its driver and the CUDA libraries",
                _ => {
                    "no adapter was found; install a driver (on Linux without a GPU, Mesa's \
                     software Vulkan: mesa-vulkan-drivers)"
                }
            }
            .to_string(),
        });
    }
    Ok(open())
}

/// The device named by the environment variable `REFRAIN_DEVICE`, or `cpu` when it is not set.
///
/// # Errors
/// As [`device`].
pub fn device_from_env() -> Result<Device> {
    match std::env::var("REFRAIN_DEVICE") {
        Ok(name) if !name.trim().is_empty() => device(&name),
        _ => device("cpu"),
    }
}

/// Whether `device` is the processor's own backend (`flex`), where our kernels may do the work of a
/// tensor program.
pub fn is_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// The names of the devices compiled into this build, one per backend, `flex` first.
pub fn devices() -> Vec<&'static str> {
    let mut names = Vec::new();
    for (name, compiled) in [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("cuda", cfg!(feature = "cuda")),
    ] {
        if compiled {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_say_which() {
        let error = device("abacus").unwrap_err().to_string();
        assert!(
            error.contains("abacus") && error.contains("wgpu"),
            "{error}"
        );
        if !cfg!(feature = "cuda") {
            let error = device("CUDA").unwrap_err().to_string();
            assert!(error.contains("feature `cuda`"), "{error}");
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn cpu_computes() {
        let device = device("cpu").unwrap();
        let t = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device);
        assert_eq!(t.sum().try_into_scalar::<f32>().unwrap(), 6.0);
        assert!(is_cpu(&device));
    }
}
