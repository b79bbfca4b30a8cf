#include "commands/commands.h"

namespace moebius::commands {

int run(int, char**) {
  return 2;
}

}  // namespace moebius::commands
