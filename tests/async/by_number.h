/*
 * by_number: included before all else, it makes each call of the conformance program that syscall()
 * knows a call by its number.
 */
#ifndef TESTS_ASYNC_BY_NUMBER_H
#define TESTS_ASYNC_BY_NUMBER_H

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BY_NUMBER(type, name, ...) ((type)syscall(SYS_##name, __VA_ARGS__))

#define socket(...)      BY_NUMBER(int, socket, __VA_ARGS__)
#define connect(...)     BY_NUMBER(int, connect, __VA_ARGS__)
#define bind(...)        BY_NUMBER(int, bind, __VA_ARGS__)
#define listen(...)      BY_NUMBER(int, listen, __VA_ARGS__)
#define accept(...)      BY_NUMBER(int, accept4, __VA_ARGS__, 0)
#define getsockname(...) BY_NUMBER(int, getsockname, __VA_ARGS__)
#define getpeername(...) BY_NUMBER(int, getpeername, __VA_ARGS__)
#define getsockopt(...)  BY_NUMBER(int, getsockopt, __VA_ARGS__)
#define setsockopt(...)  BY_NUMBER(int, setsockopt, __VA_ARGS__)
#define shutdown(...)    BY_NUMBER(int, shutdown, __VA_ARGS__)
#define dup(...)         BY_NUMBER(int, dup, __VA_ARGS__)
#ifdef SYS_dup2
#define dup2(...) BY_NUMBER(int, dup2, __VA_ARGS__)
#endif
#define fcntl(...)       BY_NUMBER(int, fcntl, __VA_ARGS__)
#define ioctl(...)       BY_NUMBER(int, ioctl, __VA_ARGS__)
#define close(...)       BY_NUMBER(int, close, __VA_ARGS__)
#define close_range(...) BY_NUMBER(int, close_range, __VA_ARGS__)
#define epoll_ctl(...)   BY_NUMBER(int, epoll_ctl, __VA_ARGS__)
#define send(...)        BY_NUMBER(ssize_t, sendto, __VA_ARGS__, NULL, 0)
#define sendto(...)      BY_NUMBER(ssize_t, sendto, __VA_ARGS__)
#define sendmsg(...)     BY_NUMBER(ssize_t, sendmsg, __VA_ARGS__)
#define sendmmsg(...)    BY_NUMBER(int, sendmmsg, __VA_ARGS__)
#define recv(...)        BY_NUMBER(ssize_t, recvfrom, __VA_ARGS__, NULL, NULL)
#define recvfrom(...)    BY_NUMBER(ssize_t, recvfrom, __VA_ARGS__)
#define recvmsg(...)     BY_NUMBER(ssize_t, recvmsg, __VA_ARGS__)
#define recvmmsg(...)    BY_NUMBER(int, recvmmsg, __VA_ARGS__)
#define read(...)        BY_NUMBER(ssize_t, read, __VA_ARGS__)
#define write(...)       BY_NUMBER(ssize_t, write, __VA_ARGS__)
#define readv(...)       BY_NUMBER(ssize_t, readv, __VA_ARGS__)
#define writev(...)      BY_NUMBER(ssize_t, writev, __VA_ARGS__)
#define sendfile(...)    BY_NUMBER(ssize_t, sendfile, __VA_ARGS__)
#define splice(...)      BY_NUMBER(ssize_t, splice, __VA_ARGS__)

#endif
