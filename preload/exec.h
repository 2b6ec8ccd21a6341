/*
 * exec: what programs that are started here inherit of the session.
 */
#ifndef VD_PRELOAD_EXEC_H
#define VD_PRELOAD_EXEC_H

/* Remembers the library's own path and the variable that names the session; copies both. Called
 * once, when the library is loaded. */
void exec_remember(const char *library, const char *name, const char *value);

/* Puts both into this process's own environment. */
void exec_restore_environment(void);

#endif
