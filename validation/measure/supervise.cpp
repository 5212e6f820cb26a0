#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "run.h"

namespace memwall::measure {

namespace {

/// Each restart costs a case; a device that fails this many is not worth more of its time.
constexpr int kMostRestarts = 60;

std::string invocation_name() {
    return std::to_string(std::time(nullptr)) + "-" + std::to_string(getpid());
}

/// Waits for a child that was started with these words. Its exit status, or 128 + signal.
int run_child(const std::string& program, const std::vector<std::string>& words) {
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        execv("/proc/self/exe", argv.data());
        std::fprintf(stderr, "memwall-measure: cannot start itself: %s\n", std::strerror(errno));
        _exit(1);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int supervise(const std::string& program, const std::vector<std::string>& words) {
    std::vector<std::string> with_role = words;
    with_role.insert(with_role.end(), {"--worker", invocation_name()});
    for (int restarts = 0; restarts <= kMostRestarts; ++restarts) {
        const int status = run_child(program, with_role);
        if (status == 0 || status == 1 || status == 2) return status;
        std::fprintf(stderr, "memwall-measure: the process that ran the case ended (%s%d); going on with the next\n",
                     status == kRestart ? "" : "status ", status);
    }
    std::fprintf(stderr, "memwall-measure: too many cases ended the process; giving up\n");
    return 1;
}

}  // namespace memwall::measure
