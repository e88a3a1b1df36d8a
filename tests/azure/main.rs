//! `import azure`: files of every shape that Azure's tools print, good and bad, to configuration, byte
//! for byte; and random endpoints through every shape and back.

mod cases;
mod command;
mod hostile;
mod property;
mod shapes;
#[path = "../harness/temporary.rs"]
mod temporary;
mod whole_catalogue;
