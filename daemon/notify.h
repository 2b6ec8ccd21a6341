/*
 * notify: tells the service manager how far the daemon is, as sd_notify(3) does.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* Remembers NOTIFY_SOCKET and takes it out of the environment. */
void notify_init(void);
/* "READY=1", "STOPPING=1": lines of the protocol. Nothing happens where nobody wants to know. */
void notify(const char *state);
/* "RELOADING=1" with the time, as Type=notify-reload wants it. */
void notify_reloading(void);

#endif
