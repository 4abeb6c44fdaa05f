//! The files of the page are part of the program: it is built again where one of them changes, or appears.

fn main() {
    println!("cargo::rerun-if-changed=src/page");
    println!("cargo::rerun-if-changed=build.rs");
}
