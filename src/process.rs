//! What the process asks of the kernel before it does anything: no core dumps, nobody who looks into
//! its memory, enough descriptors.
//!
//! A core dump would hold keys and what people said in the clear, and so would the memory that another
//! process of the same user may read. Requests may be refused in a container; the server then runs as
//! it is and says so.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Makes all requests.
pub(crate) fn prepare() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps stay possible");
    }
    // The limit does not hold for a dump that is piped to a program, nor for a debugger; this does,
    // for all but root.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "others of the same user can look into the memory");
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
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn there_will_be_no_core_dump() {
        prepare();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let dumpable = dumpable_behavior().expect("Linux tells");
        assert!(matches!(dumpable, DumpableBehavior::NotDumpable));
        let open = getrlimit(Resource::Nofile);
        assert_eq!(open.current, open.maximum);
    }
}
