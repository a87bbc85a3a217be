//! Merges the command line with the configuration file, key by key; the command line wins.

/// A flag, or a group of flags, that may be given in two places.
pub(crate) trait Merge {
    /// `self` if it was given, else `file`. A switch is on when either turns it on; lists are not joined.
    #[must_use]
    fn over(self, file: Self) -> Self;

    /// Whether the value was given.
    fn is_given(&self) -> bool;
}

impl<T> Merge for Option<T> {
    fn over(self, file: Self) -> Self {
        self.or(file)
    }

    fn is_given(&self) -> bool {
        self.is_some()
    }
}

impl<T> Merge for Vec<T> {
    fn over(self, file: Self) -> Self {
        if self.is_empty() { file } else { self }
    }

    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl Merge for bool {
    fn over(self, file: Self) -> Self {
        self || file
    }

    fn is_given(&self) -> bool {
        *self
    }
}

/// Defines a struct of flags that merges field by field and knows which of its flags were given.
macro_rules! flags {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$of:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$of])* pub $field: $type,)*
        }

        impl $crate::cli::Merge for $name {
            fn over(self, file: Self) -> Self {
                Self { $($field: $crate::cli::Merge::over(self.$field, file.$field),)* }
            }

            fn is_given(&self) -> bool {
                !self.given().is_empty()
            }
        }

        impl $name {
            /// The flags that were given, as written on a command line.
            pub(crate) fn given(&self) -> Vec<String> {
                let mut given = Vec::new();
                $(if $crate::cli::Merge::is_given(&self.$field) {
                    given.push(format!("--{}", stringify!($field).replace('_', "-")));
                })*
                given
            }
        }
    };
}
pub(crate) use flags;
