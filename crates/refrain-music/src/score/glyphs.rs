//! Musical signs as paths, in staff spaces with y down.

/// Sharp; the origin of every sign is the height it stands for.
pub(crate) const SHARP: &str = "M-.24-1.22h.11v2.66h-.11zM.13-1.44h.11v2.66h-.11z\
     M-.46-.34L.46-.66v.32L-.46-.02zM-.46.66L.46.34v.32L-.46.98z";
/// Flat.
pub(crate) const FLAT: &str = "M-.4-1.75h.11v1.5C-.1-.55.44-.6.44-.18C.44.2.0.4-.4.72z\
     M-.29-.06v.5C-.04.24.2.04.2-.2C.2-.44-.14-.36-.29-.06z";
/// Natural.
pub(crate) const NATURAL: &str =
    "M-.32-1.4h.11v1.02L.32-.6v2h-.11V.38L-.32.6zM-.21-.08v.42L.21.12v-.42z";
/// Double sharp.
pub(crate) const DOUBLE_SHARP: &str = "M-.45-.45h.3l.15.28l.15-.28h.3v.3l-.28.15l.28.15v.3h-.3L0 .17\
     l-.15.28h-.3v-.3l.28-.15l-.28-.15z";

/// Filled head, leaning.
pub(crate) const BLACK_HEAD: &str = "M-.61.23C-.74-.08-.4-.45.02-.47C.36-.49.58-.36.63-.2\
     C.74.12.4.47-.02.48C-.34.49-.55.38-.61.23z";
/// Half note's head.
pub(crate) const HALF_HEAD: &str = "M-.61.23C-.74-.08-.4-.45.02-.47C.36-.49.58-.36.63-.2\
     C.74.12.4.47-.02.48C-.34.49-.55.38-.61.23z\
     M-.5.24C-.42.4-.1.3.2.1C.48-.08.58-.16.52-.24C.44-.38.12-.26-.18-.08C-.44.08-.56.14-.5.24z";
/// Whole note's head.
pub(crate) const WHOLE_HEAD: &str = "M-.85 0C-.85-.3-.45-.5 0-.5S.85-.3.85 0S.45.5 0 .5S-.85.3-.85 0z\
     M-.32-.2C-.42.06-.22.38.04.4C.26.41.38.34.34.14C.28-.16.1-.4-.1-.4C-.2-.4-.28-.34-.32-.2z";

/// Flag of an upward stem; origin at the stem's tip.
pub(crate) const FLAG_UP: &str = "M-.06 0H.06C.1.62.42.94.68 1.34C.96 1.8.94 2.4.66 2.98\
     C.82 2.3.7 1.86.4 1.5C.26 1.32.1 1.2-.06 1.14z";
/// Flag of a downward stem.
pub(crate) const FLAG_DOWN: &str = "M-.06 0H.06C.1-.62.42-.94.68-1.34C.96-1.8.94-2.4.66-2.98\
     C.82-2.3.7-1.86.4-1.5C.26-1.32.1-1.2-.06-1.14z";

/// Quarter rest; origin on the middle line.
pub(crate) const QUARTER_REST: &str = "M-.24-1.48L.4-.56C.06-.2.06.02.44.56C.02.36-.26.56.1 1.16\
     L.02 1.24C-.62.72-.5.18.06.3L-.42-.3C-.04-.62-.02-.92-.3-1.4z";
/// Eighth rest.
pub(crate) const EIGHTH_REST: &str = "M-.44-.66a.25.25 0 1 1 .4.2C.14-.44.3-.58.44-.86L.52-.84\
     L.06 1.0H-.08L.3-.38C.06-.22-.2-.26-.34-.44C-.4-.5-.44-.58-.44-.66z";
/// Whole rest, hanging from the fourth line.
pub(crate) const WHOLE_REST: &str = "M-.6-1h1.2v.5h-1.2z";
/// Half rest, lying on the middle line.
pub(crate) const HALF_REST: &str = "M-.6-.5h1.2v.5h-1.2z";

/// A roll or turn.
pub(crate) const TURN: &str = "M-.85.1C-.85-.25-.5-.42-.22-.22C0-.06.2.2.42.18C.56.16.62.02.54-.1\
     C.46-.2.34-.16.3-.08C.3-.24.5-.34.66-.26C.94-.1.86.32.54.38C.2.44 0 .14-.22.02\
     C-.44-.1-.62-.02-.6.14C-.58.24-.46.26-.38.18C-.38.34-.58.42-.7.34C-.8.28-.85.2-.85.1z";
/// Fermata: an arc over a dot.
pub(crate) const FERMATA: &str = "M-1.1.35C-1.1-1.2 1.1-1.2 1.1.35H1C.9-.72-.9-.72-1 .35z\
     M-.18.16a.18.18 0 1 0 .36 0a.18.18 0 1 0-.36 0z";
/// Up-bow.
pub(crate) const UP_BOW: &str = "M-.42-.7h.13L.02.34L.3-.7h.12L.08.6h-.13z";
/// Down-bow.
pub(crate) const DOWN_BOW: &str = "M-.5-.5h1v1.1h-.12v-.66h-.76v.66h-.12z";
/// Accent.
pub(crate) const ACCENT: &str = "M-.6-.42L.6-.04v.08L-.6.42v-.12L.3 0L-.6-.3z";
/// Mordent.
pub(crate) const MORDENT: &str = "M-.9.2L-.5-.3L-.15.12L.2-.3L.55.12L.85-.22L.9-.16L.5.32L.15-.1L-.2.32\
     L-.55-.1L-.85.26z";
