#pragma once
/// commands: the program's verbs, one file each.
namespace moebius::commands {

/// Parses the command line, runs the command, turns an error into one message and an exit code that all ranks
/// share.
int run(int argc, char** argv);

}  // namespace moebius::commands
