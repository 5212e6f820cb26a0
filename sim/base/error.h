// The one hierarchy of errors. Each is thrown where the fact is known and printed once, by the command line.
#pragma once

#include <stdexcept>
#include <string>

namespace memwall {

/// Base of every error that memwall reports. `exit_status` is the contract of the command line:
/// 2 bad input; 3 the simulated machine deadlocked or broke an invariant; 1 anything else.
class Error : public std::runtime_error {
public:
    Error(int exit_status, const std::string& what) : std::runtime_error(what), exit_status_(exit_status) {}
    [[nodiscard]] int exit_status() const { return exit_status_; }

private:
    int exit_status_;
};

/// Bad input: names where (a file and JSON pointer, an option), what was found, and what is allowed.
class InputError : public Error {
public:
    InputError(const std::string& where, const std::string& found, const std::string& allowed)
        : Error(2, where + ": found " + found + "; allowed: " + allowed) {}
    explicit InputError(const std::string& what) : Error(2, what) {}
};

/// A file could not be written, or the host failed in another way that is not the input's fault.
class HostError : public Error {
public:
    explicit HostError(const std::string& what) : Error(1, what) {}
};

/// The simulated machine cannot progress, or a part broke a law (bytes lost, time running backwards).
class ModelError : public Error {
public:
    explicit ModelError(const std::string& what) : Error(3, what) {}
};

}  // namespace memwall
