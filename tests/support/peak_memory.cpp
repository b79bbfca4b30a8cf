#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/// peak_memory FILE PROGRAM ARGS...   runs it and writes the most resident bytes that it had to FILE.<rank>
int main(int count, char** words) {
  if (count < 3) return 2;
  const pid_t child = fork();
  if (child == 0) {
    execv(words[2], words + 2);
    std::perror(words[2]);
    _exit(127);
  }
  int status = 0;
  struct rusage usage {};
  if (child < 0 || wait4(child, &status, 0, &usage) != child) return 1;
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const std::string file = std::string(words[1]) + "." + (rank == nullptr ? "0" : rank);
  if (std::FILE* const out = std::fopen(file.c_str(), "w")) {
    std::fprintf(out, "%lld\n", 1024LL * usage.ru_maxrss);  // Linux gives KiB
    std::fclose(out);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
