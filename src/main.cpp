#include "commands/commands.h"

int main(int argc, char** argv) {
  return moebius::commands::run(argc, argv);
}
