//! Compiles `shim.cpp` against the headers of the libtorch that torch-sys found, and tells the linker where that lies.

use std::path::PathBuf;

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    for file in ["attempt.h", "kernels.cpp", "kernels.h", "ops.cpp", "shim.cpp"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-changed=trace.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");

    // torch-sys says this of itself (`links = "tch"`); it holds for a wheel, an archive and a system-wide libtorch alike.
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB")
        .map_err(|_| "torch-sys did not say where libtorch lies: keep it a direct dependency of kiln-torch")?;
    let include = include_dir(&lib)?;

    // Our own loops, optimised whatever the profile.
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .opt_level(3)
        .flag("-ffp-contract=fast")
        .flag_if_supported("-Wno-psabi") // vectors are passed between inlined functions only
        .file("kernels.cpp")
        .compile("kiln_torch_kernels");

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .opt_level(2) // thin calls into libtorch; the same in every profile, so that dev and release run the same code
        .define("_GLIBCXX_USE_CXX11_ABI", "1") // libtorch has had no other ABI since 2.7
        .warnings(false) // libtorch's headers are not ours to mend
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("shim.cpp")
        .file("ops.cpp")
        .file("trace.cpp")
        .compile("kiln_torch_shim");
    println!("cargo:rustc-link-search=native={lib}");
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");

    // The link argument does not travel to dependent packages, so each one with tests or binaries sets it too.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/torch/lib");
    Ok(())
}

/// The first candidate that really holds libtorch's headers.
fn include_dir(lib: &str) -> Result<PathBuf, String> {
    let beside_lib = PathBuf::from(lib).join("../include");
    let from_env = ["LIBTORCH_INCLUDE", "LIBTORCH"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|root| PathBuf::from(root).join("include")));
    let candidates: Vec<PathBuf> = from_env.chain([beside_lib]).collect();
    candidates.iter().find(|dir| dir.join("ATen/ATen.h").is_file()).cloned().ok_or_else(|| {
        let tried: Vec<String> = candidates.iter().map(|dir| dir.display().to_string()).collect();
        format!(
            "libtorch's C++ headers (ATen/ATen.h) were not found in {}; fetch libtorch 2.11.0 with `make libtorch`, \
             or set LIBTORCH to a folder that has both include/ and lib/",
            tried.join(" or ")
        )
    })
}
