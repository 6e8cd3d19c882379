"""The backend for any launcher: it runs a command for each leg, and looks at what that saved."""
