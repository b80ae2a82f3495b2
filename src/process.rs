//! What the process asks of the kernel before it does anything: no core dumps, enough descriptors.
//!
//! A core dump would hold keys and what people said in the clear. Both requests may be refused in a
//! container; the server then runs as it is and says so.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes both requests.
pub(crate) fn prepare() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps stay possible");
    }
    let open = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: open.maximum,
        ..open
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_will_be_no_core_dump() {
        prepare();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let open = getrlimit(Resource::Nofile);
        assert_eq!(open.current, open.maximum);
    }
}
